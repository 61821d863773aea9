#pragma once

#include <cstdint>
#include <string>

namespace finetuned::services {

/// What `finetuned generate` was asked for.
struct GenerateArguments {
  std::string base;
  std::string adapter;      ///< empty: the base alone
  std::string prompt;
  std::string ids;          ///< instead of `prompt`: token ids, by spaces or commas
  std::string prompts;      ///< instead of `prompt`: a file of them, a line each, answered side by side
  bool chat = false;        ///< the prompt is a user turn of the model's chat template
  std::int64_t max_tokens = 256;
  double temperature = 0;
  double top_p = 1;
  std::uint64_t seed = 0;
  bool no_kv_cache = false;
  bool print_ids = false;   ///< ids instead of text
  bool ignore_eos = false;
  std::string device = "cpu";  ///< as --device takes it
  int threads = 0;
};

/// Writes the continuation to stdout as it comes; of a file of prompts a JSON line each: prompt, completion (or ids) and
/// finish_reason.
void generate(const GenerateArguments& arguments);

}  // namespace finetuned::services
