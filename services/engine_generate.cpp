#include "services/engine_generate.h"

#include <iostream>
#include <optional>
#include <vector>

#include "base/errors.h"
#include "services/engine_model.h"
#include "services/engine_rows.h"
#include "trainer/formats/hf_config.h"
#include "trainer/generate/generate.h"
#include "trainer/text/supervised.h"
#include "trainer/text/tokenizer.h"

namespace finetuned::services {

namespace {

std::vector<std::int32_t> chat_prompt(const GenerateArguments& arguments) {
  const text::RowEncoder encoder(arguments.base);
  text::Row row;
  text::Message message;
  message.content = arguments.prompt;
  row.messages.push_back(std::move(message));
  try {
    return encoder.tokenizer().encode(encoder.render(row, true), {.add_special = false});
  } catch (const text::RowError& error) {
    throw base::UsageError(arguments.base + ": " + error.what());
  }
}

std::vector<std::int32_t> prompt_ids(const GenerateArguments& arguments, const text::Tokenizer& tokenizer) {
  if (arguments.chat) return chat_prompt(arguments);
  std::vector<std::int32_t> ids = tokenizer.encode(arguments.prompt);
  // An eos that the tokenizer puts at the end would end the text before it starts.
  if (!ids.empty() && tokenizer.eos_id() && ids.back() == *tokenizer.eos_id()) ids.pop_back();
  return ids;
}

void check_ids(const std::vector<std::int32_t>& ids, const formats::ModelConfig& config) {
  if (ids.empty()) throw base::UsageError("the prompt has no tokens; give --prompt or --ids");
  for (const std::int32_t id : ids)
    if (id < 0 || id >= config.vocab_size)
      throw base::UsageError("token " + std::to_string(id) + " is not in the vocabulary of " +
                             std::to_string(config.vocab_size));
}

}  // namespace

void generate(const GenerateArguments& arguments) {
  if (arguments.prompt.empty() == arguments.ids.empty())
    throw base::UsageError("give the prompt by either --prompt or --ids");
  if (arguments.chat && arguments.prompt.empty()) throw base::UsageError("--chat needs --prompt");
  const formats::ModelConfig config = formats::read_model_config(arguments.base);
  // With ids in and ids out, a model needs no tokenizer.
  const bool needs_tokenizer = arguments.ids.empty() || !arguments.print_ids;
  std::optional<text::Tokenizer> tokenizer;
  if (needs_tokenizer) tokenizer = text::Tokenizer::load(arguments.base);
  const std::vector<std::int32_t> prompt =
      arguments.ids.empty() ? prompt_ids(arguments, *tokenizer) : parse_ids(arguments.ids, "--ids");
  check_ids(prompt, config);
  tensor::Cpu device(arguments.threads);
  const auto longest = static_cast<std::int64_t>(prompt.size()) + arguments.max_tokens;
  Reader model = load_reader(device, arguments.base, arguments.adapter, config, longest);

  generate::Request request;
  request.max_tokens = arguments.max_tokens;
  request.sampling.temperature = arguments.temperature;
  request.sampling.top_p = arguments.top_p;
  request.sampling.seed = arguments.seed;
  request.use_cache = !arguments.no_kv_cache;
  if (!arguments.ignore_eos) request.stop_ids = config.eos_token_ids;
  if (!arguments.ignore_eos && tokenizer && tokenizer->eos_id()) request.stop_ids.push_back(*tokenizer->eos_id());
  if (arguments.print_ids) {
    const char* separator = "";
    generate::generate(model, prompt, request, [&](std::int32_t id) {
      std::cout << separator << id << std::flush;
      separator = " ";
    });
  } else {
    text::StreamDecoder decoder(*tokenizer);
    generate::generate(model, prompt, request, [&](std::int32_t id) { std::cout << decoder.push(id) << std::flush; });
    std::cout << decoder.finish();
  }
  std::cout << "\n";
}

}  // namespace finetuned::services
