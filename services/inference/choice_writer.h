#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <string>

#include "services/inference/call.h"
#include "services/inference/stop_filter.h"
#include "trainer/generate/batch.h"
#include "trainer/text/tokenizer.h"

namespace finetuned::inference {

/// Turns one choice's tokens into the lines that the client gets: whole characters, nothing of a stop string, and each
/// token's log-probability with the text that it begins in.
class ChoiceWriter {
 public:
  /// `call` and `tokenizer` outlive this. `choice` is prompt * n + i.
  ChoiceWriter(Call& call, std::size_t choice, const text::Tokenizer& tokenizer);

  void take(const generate::Token& token);
  /// The answer's end, once: by a stop string where one was met, else as the engine says.
  void end(generate::Finish finish);

  bool stopped() const { return filter_.stopped(); }  ///< by a stop string: nothing more is to be generated
  std::int64_t tokens() const { return tokens_; }     ///< that were computed, a stop token among them

 private:
  struct Held {
    ChosenToken token;
    std::size_t begin = 0;  ///< bytes of the answer's text before it
  };

  ChosenToken describe(const generate::Token& token) const;
  TokenProbability describe(std::int32_t id, double logprob) const;
  void send(std::string text, bool all_tokens);
  std::int64_t untold();

  Call& call_;
  const std::size_t choice_;
  const text::Tokenizer& tokenizer_;
  text::StreamDecoder decoder_;
  StopFilter filter_;
  std::int32_t last_ = 0;     ///< the token before the next one
  std::size_t decoded_ = 0;   ///< bytes of text so far
  std::size_t sent_ = 0;      ///< of them
  std::int64_t tokens_ = 0;
  std::int64_t told_ = 0;     ///< of them, in lines that were sent
  std::deque<Held> held_;     ///< tokens whose text is not sent yet
};

}  // namespace finetuned::inference
