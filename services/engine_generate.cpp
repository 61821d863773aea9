#include "services/engine_generate.h"

#include <algorithm>
#include <boost/json/serialize.hpp>
#include <iostream>
#include <optional>
#include <vector>

#include "base/errors.h"
#include "base/json.h"
#include "services/cli/output.h"
#include "services/engine_device.h"
#include "services/engine_rows.h"
#include "trainer/formats/hf_config.h"
#include "trainer/generate/any_model.h"
#include "trainer/text/supervised.h"
#include "trainer/text/tokenizer.h"
#include "trainer/text/utf8.h"

namespace finetuned::services {

namespace json = base::json;

namespace {

constexpr std::int64_t kTogether = 32;  // prompts of a file that are answered side by side
constexpr std::size_t kMostPrompts = 100'000;
constexpr std::size_t kMostPromptBytes = 16'000'000;

std::vector<std::int32_t> chat_prompt(const GenerateArguments& arguments, const text::RowEncoder& encoder,
                                      const std::string& prompt) {
  text::Row row;
  text::Message message;
  message.content = prompt;
  row.messages.push_back(std::move(message));
  try {
    return encoder.tokenizer().encode(encoder.render(row, true), {.add_special = false});
  } catch (const text::RowError& error) {
    throw base::UsageError(arguments.base + ": " + error.what());
  }
}

/// `encoder` is there where --chat is.
std::vector<std::int32_t> prompt_ids(const GenerateArguments& arguments, const text::Tokenizer& tokenizer,
                                     const std::optional<text::RowEncoder>& encoder, const std::string& prompt) {
  if (encoder) return chat_prompt(arguments, *encoder, prompt);
  std::vector<std::int32_t> ids = tokenizer.encode(prompt);
  // An eos that the tokenizer puts at the end would end the text before it starts.
  if (!ids.empty() && tokenizer.eos_id() && ids.back() == *tokenizer.eos_id()) ids.pop_back();
  return ids;
}

generate::Request request_of(const GenerateArguments& arguments, const formats::ModelConfig& config,
                             const text::Tokenizer* tokenizer) {
  generate::Request request;
  request.max_tokens = arguments.max_tokens;
  request.sampling.temperature = arguments.temperature;
  request.sampling.top_p = arguments.top_p;
  request.sampling.seed = arguments.seed;
  request.use_cache = !arguments.no_kv_cache;
  if (!arguments.ignore_eos) request.stop_ids = config.eos_token_ids;
  if (!arguments.ignore_eos && tokenizer && tokenizer->eos_id()) request.stop_ids.push_back(*tokenizer->eos_id());
  return request;
}

/// The prompts of a file, a line each; a line is taken as it is.
std::vector<std::string> read_prompts(const std::string& file) {
  std::vector<std::string> prompts;
  for_each_line(file, kMostPromptBytes, [&](std::string& line, const std::string& place) {
    if (line.empty()) throw base::UsageError(place + " is empty");
    if (text::valid_utf8_prefix(line) != line.size()) throw base::UsageError(place + " is not UTF-8");
    prompts.push_back(std::move(line));
    if (prompts.size() > kMostPrompts) throw base::UsageError(file + ": more than 100,000 prompts; give fewer at a time");
  });
  if (prompts.empty()) throw base::UsageError(file + ": there are no prompts in it");
  return prompts;
}

/// Answers the prompts of a file side by side, and prints a JSON line for each, in their order, once those before it are
/// answered.
void generate_file(const GenerateArguments& arguments, const formats::ModelConfig& config) {
  const text::Tokenizer tokenizer = text::Tokenizer::load(arguments.base);
  std::optional<text::RowEncoder> encoder;
  if (arguments.chat) encoder.emplace(arguments.base);
  const std::vector<std::string> texts = read_prompts(arguments.prompts);
  const generate::Request request = request_of(arguments, config, &tokenizer);
  std::vector<std::vector<std::int32_t>> ids;
  std::size_t longest = 0;
  for (const std::string& text : texts) {
    ids.push_back(prompt_ids(arguments, tokenizer, encoder, text));
    check_prompt(ids.back(), config, arguments.prompts + ": line " + std::to_string(ids.size()));
    longest = std::max(longest, ids.back().size());
  }
  std::vector<generate::Prompt> prompts;
  for (const auto& one : ids) prompts.push_back({one, request});
  tensor::AnyDevice device(chosen_device(arguments.device), arguments.threads);
  generate::AnyModel model(device, {arguments.base, arguments.adapter}, config,
                           static_cast<std::int64_t>(longest) + arguments.max_tokens,
                           std::min(kTogether, static_cast<std::int64_t>(prompts.size())));
  std::vector<std::string> lines(texts.size());
  std::size_t printed = 0;
  generate::Listener listener;
  listener.on_answer = [&](std::size_t i, const generate::Answer& answer) {
    json::object line;
    line["prompt"] = texts[i];
    if (arguments.print_ids) {
      line["ids"] = json::array(answer.ids.begin(), answer.ids.end());
    } else {
      line["completion"] = text::to_valid_utf8(tokenizer.decode(answer.ids));
    }
    line["finish_reason"] = answer.finish == generate::Finish::kStop ? "stop" : "length";
    lines[i] = json::serialize(line);
    for (; printed < lines.size() && !lines[printed].empty(); ++printed) {
      std::cout << lines[printed] << "\n";
      cli::flush_output();
    }
  };
  model.generate_together(prompts, listener);
}

}  // namespace

void generate(const GenerateArguments& arguments) {
  if (!arguments.prompt.empty() + !arguments.ids.empty() + !arguments.prompts.empty() != 1)
    throw base::UsageError("give the prompt by one of --prompt, --ids and --prompts");
  if (arguments.chat && !arguments.ids.empty()) throw base::UsageError("--chat needs --prompt or --prompts");
  const formats::ModelConfig config = formats::read_model_config(arguments.base);
  if (!arguments.prompts.empty()) return generate_file(arguments, config);
  // With ids in and ids out, a model needs no tokenizer.
  const bool needs_tokenizer = arguments.ids.empty() || !arguments.print_ids;
  std::optional<text::Tokenizer> tokenizer;
  if (needs_tokenizer) tokenizer = text::Tokenizer::load(arguments.base);
  std::optional<text::RowEncoder> encoder;
  if (arguments.chat) encoder.emplace(arguments.base);
  const std::vector<std::int32_t> prompt =
      arguments.ids.empty() ? prompt_ids(arguments, *tokenizer, encoder, arguments.prompt) : parse_ids(arguments.ids, "--ids");
  check_prompt(prompt, config, "the prompt");
  tensor::AnyDevice device(chosen_device(arguments.device), arguments.threads);
  const auto longest = static_cast<std::int64_t>(prompt.size()) + arguments.max_tokens;
  generate::AnyModel model(device, {arguments.base, arguments.adapter}, config, longest, 1);

  const generate::Request request = request_of(arguments, config, tokenizer ? &*tokenizer : nullptr);
  if (arguments.print_ids) {
    const char* separator = "";
    model.generate(prompt, request, [&](std::int32_t id) {
      std::cout << separator << id;
      separator = " ";
      cli::flush_output();
    });
  } else {
    text::StreamDecoder decoder(*tokenizer);
    model.generate(prompt, request, [&](std::int32_t id) {
      std::cout << decoder.push(id);
      cli::flush_output();
    });
    std::cout << decoder.finish();
  }
  std::cout << "\n";
}

}  // namespace finetuned::services
