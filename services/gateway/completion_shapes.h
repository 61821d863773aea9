#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/json.h"
#include "services/inference/wire.h"

namespace finetuned::gateway {

/// What every piece of one answer has in common.
struct AnswerIdentity {
  bool chat = true;
  std::string id;  ///< `chatcmpl-...` or `cmpl-...`
  std::int64_t created = 0;
  std::string model;  ///< as it was asked for
  std::size_t choices = 1;
  bool logprobs = false;
  bool include_usage = false;  ///< of a stream
};

/// OpenAI's `usage`.
base::json::object usage_shape(const inference::Done& done);

/// Puts a whole answer together: a `chat.completion` or `text_completion`.
class WholeAnswer {
 public:
  explicit WholeAnswer(const AnswerIdentity& identity);
  /// Throws inference::WireError where the line is about a choice that was not asked for, or has ended.
  void add(const inference::TextPiece& piece);
  void add(const inference::ChoiceEnd& end);
  /// Throws WireError where a choice has not ended.
  base::json::object finish(const inference::Done& done) const;

 private:
  struct Choice {
    std::string text;
    std::vector<inference::ChosenToken> tokens;
    std::optional<inference::FinishReason> finish;
  };
  Choice& open_choice(std::size_t index);

  const AnswerIdentity identity_;
  std::vector<Choice> choices_;
};

/// The same as it comes, as server-sent events: `chat.completion.chunk`s or pieces of `text_completion`. Each choice of a
/// chat begins with its role and ends with an empty piece that has the finish_reason; `data: [DONE]` is the end of all.
class StreamedAnswer {
 public:
  explicit StreamedAnswer(const AnswerIdentity& identity);
  /// The events of a line, perhaps none. Throw as WholeAnswer's do.
  std::string add(const inference::TextPiece& piece);
  std::string add(const inference::ChoiceEnd& end);
  std::string finish(const inference::Done& done);
  /// What a client of OpenAI takes for an error within a stream. Nothing follows it.
  static std::string broken(const base::ApiError& error);

 private:
  enum class Progress { kSilent, kBegun, kEnded };
  std::string begin(std::size_t index);
  std::string piece(std::size_t index, const inference::TextPiece* piece, const std::optional<std::string>& finish);
  std::string event(base::json::array choices, base::json::value usage);

  const AnswerIdentity identity_;
  std::vector<Progress> progress_;
  std::vector<std::int64_t> characters_;  ///< of each choice so far: where the next token begins
  std::optional<inference::ChoiceEnd> held_;  ///< the last end: sent with the fingerprint, which comes behind it
  std::string fingerprint_;
};

}  // namespace finetuned::gateway
