#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "trainer/text/chat_template.h"
#include "trainer/text/dataset.h"
#include "trainer/text/token_row.h"
#include "trainer/text/tokenizer.h"

namespace finetuned::text {

/// A row that parses but cannot be trained on with this model. Codes: template_refused (the template's own
/// raise_exception), template_failed, template_limit, assistant_not_found (the template does not print an
/// assistant turn or its tool calls), no_supervised_tokens.
struct RowError : std::runtime_error {
  std::string field;
  std::string code;
  RowError(std::string at_field, std::string fault_code, const std::string& message)
      : std::runtime_error(message), field(std::move(at_field)), code(std::move(fault_code)) {}
  /// As a dataset fault of line `line`.
  RowFault fault(std::int64_t line) const { return {line, field, code, what()}; }
};

struct SupervisedOptions {
  std::int64_t max_seq_length = 0;  ///< longer rows are cut at the end; 0: never
  bool train_on_inputs =
      false;  ///< every token but the first is supervised (turns of weight 0 still are not)
};

/// A row's size in tokens. `supervised` counts labels from position 1 on: nothing predicts the first token.
struct RowCount {
  std::int64_t tokens = 0;
  std::int64_t supervised = 0;
};

struct SupervisedRow {
  TokenRow row;    ///< after the cut
  RowCount whole;  ///< before the cut
  RowCount kept;   ///< after it; kept.supervised >= 1
};

/// Turns rows into tokens for one model. The ids are exactly those of the whole rendered conversation,
/// tokenised once. Supervised are the tokens that hold at least one byte of an assistant turn's own text:
/// what the template writes for that message, less the header that the generation prompt would have given
/// (`<|im_start|>assistant\n`), up to and with its end-of-turn token (`<|im_end|>`), less the whitespace
/// behind that.
///
/// A chat template sees a developer turn as a system turn, and a tool call's arguments as an object where it
/// takes one, else as JSON text. strftime_now shows a fixed date.
///
/// Where the model has no chat template, a prompt/completion row is prompt + completion + eos with bos in
/// front as the tokenizer says, and a chat row is rendered by kPlainChatTemplate. With a chat template a
/// prompt/completion row is a user turn and an assistant turn.
///
/// Immutable; any thread may call any const member.
class RowEncoder {
 public:
  /// Loads tokenizer and template of a Hugging Face directory. Throws base::FormatError.
  explicit RowEncoder(const std::filesystem::path& model_dir);
  RowEncoder(Tokenizer tokenizer, std::optional<ChatTemplate> chat_template);
  RowEncoder(RowEncoder&&) noexcept;
  ~RowEncoder();

  /// Throws RowError.
  SupervisedRow encode(const Row& row, const SupervisedOptions& options = {}) const;
  /// Sizes before any cut, without train_on_inputs: what intake stores. Trained tokens of an epoch are
  /// min(context, tokens). Throws RowError.
  RowCount count(const Row& row) const;

  /// The text whose ids encode() gives, for people and for generation: with `add_generation_prompt` a last
  /// assistant turn is left out and the text ends where the assistant goes on. Encode it with add_special =
  /// false. Throws RowError.
  std::string render(const Row& row, bool add_generation_prompt) const;

  const Tokenizer& tokenizer() const;
  bool has_chat_template() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// What chat rows are rendered by where a model has no template of its own.
extern const std::string_view kPlainChatTemplate;

}  // namespace finetuned::text
