#include "services/inference/prompts.h"

#include <algorithm>
#include <limits>

#include "trainer/text/utf8.h"

namespace finetuned::inference {

namespace {

namespace json = base::json;

/// A conversation as a dataset's row: that one ends with an answer, which stands for the one to be written.
text::Row row_of(const Chat& chat) {
  json::array messages = chat.messages;
  messages.push_back(json::object{{"role", "assistant"}, {"content", "."}});
  json::object row{{"messages", std::move(messages)}};
  if (!chat.tools.empty()) row["tools"] = chat.tools;
  text::FaultList faults(1);
  const text::DatasetLimits limits{.line_bytes = kRequestBytes, .messages = kMostMessages + 1};
  std::optional<text::Row> read = text::parse_row(row, 1, limits, faults);
  if (!read) {
    const text::RowFault& fault = faults.kept().front();
    throw base::bad_request(fault.code, fault.message, fault.field.empty() ? "messages" : fault.field);
  }
  return std::move(*read);
}

std::vector<std::int32_t> encode_chat(const Chat& chat, const text::RowEncoder& encoder) {
  const text::Row row = row_of(chat);
  try {
    return encoder.tokenizer().encode(encoder.render(row, true), {.add_special = false});
  } catch (const text::RowError& error) {
    throw base::bad_request(error.code, error.what(), error.field.empty() ? "messages" : error.field);
  }
}

std::vector<std::int32_t> encode_text(const std::string& text, const text::Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids = tokenizer.encode(text);
  // An eos that the tokenizer puts at the end would end the text before it starts.
  if (!ids.empty() && tokenizer.eos_id() && ids.back() == *tokenizer.eos_id()) ids.pop_back();
  if (!ids.empty()) return ids;
  const auto begin = tokenizer.bos_id() ? tokenizer.bos_id() : tokenizer.eos_id();
  if (!begin) throw base::bad_request("invalid_value", "The prompt is empty; give at least one character.", "prompt");
  return {*begin};
}

const char* field_of(const Call& call) { return std::holds_alternative<Chat>(call.request.input) ? "messages" : "prompt"; }

}  // namespace

void encode_prompts(Call& call, const text::RowEncoder& encoder, const formats::ModelConfig& config) {
  const text::Tokenizer& tokenizer = encoder.tokenizer();
  call.prompts.clear();
  call.prompt_texts.clear();
  if (const Chat* const chat = std::get_if<Chat>(&call.request.input)) {
    call.prompts.push_back(encode_chat(*chat, encoder));
  } else if (const PromptTexts* const texts = std::get_if<PromptTexts>(&call.request.input)) {
    for (const std::string& text : *texts) call.prompts.push_back(encode_text(text, tokenizer));
    if (call.request.echo) call.prompt_texts = *texts;
  } else {
    call.prompts = std::get<PromptIds>(call.request.input);
    for (const auto& ids : call.prompts)
      if (call.request.echo) call.prompt_texts.push_back(text::to_valid_utf8(tokenizer.decode(ids)));
  }
  for (const auto& ids : call.prompts)
    for (const std::int32_t id : ids)
      if (id < 0 || id >= config.vocab_size)
        throw base::bad_request("invalid_value", "The token id " + std::to_string(id) + " is not in the model's vocabulary of " +
                                                     std::to_string(config.vocab_size) + ".", field_of(call));
  check_context(call, config.max_position_embeddings);
}

void check_context(const Call& call, std::int64_t context) {
  const std::int64_t asked = call.request.max_tokens.value_or(0);
  const std::string limit = "This model's maximum context length is " + std::to_string(context) + " tokens";
  for (const auto& ids : call.prompts) {
    const auto prompt = static_cast<std::int64_t>(ids.size());
    if (prompt + std::max<std::int64_t>(1, asked) <= context) continue;
    const std::string field = field_of(call);
    const std::string reduce = ". Please reduce the length of the " + field;
    if (prompt >= context)
      throw base::bad_request("context_length_exceeded", limit + ". However, your " + field + " resulted in " +
                                                             std::to_string(prompt) + " tokens" + reduce + ".", field);
    throw base::bad_request("context_length_exceeded",
                            limit + ". However, you requested " + std::to_string(prompt + asked) + " tokens (" +
                                std::to_string(prompt) + " in the " + field + ", " + std::to_string(asked) +
                                " in the completion)" + reduce + " or completion.", field);
  }
}

}  // namespace finetuned::inference
