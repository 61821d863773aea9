#include "services/inference/choice_writer.h"

#include <array>
#include <utility>

#include "trainer/text/utf8.h"

namespace finetuned::inference {

ChoiceWriter::ChoiceWriter(Call& call, std::size_t choice, const text::Tokenizer& tokenizer)
    : call_(call), choice_(choice), tokenizer_(tokenizer), decoder_(tokenizer), filter_(call.request.stop) {
  const std::size_t prompt = choice / static_cast<std::size_t>(call.request.n);
  last_ = call.prompts[prompt].back();
  if (!call.request.echo) return;
  call_.send(TextPiece{choice_, call.prompt_texts[prompt], {}});
}

void ChoiceWriter::take(const generate::Token& token) {
  ++tokens_;
  if (call_.request.logprobs) held_.push_back({describe(token), decoded_});
  last_ = token.id;
  const std::string text = decoder_.push(token.id);
  decoded_ += text.size();
  send(filter_.push(text), false);
}

void ChoiceWriter::end(generate::Finish finish) {
  if (finish == generate::Finish::kStop) ++tokens_;
  if (!filter_.stopped()) send(filter_.push(decoder_.finish()), false);
  if (!filter_.stopped()) send(filter_.finish(), true);
  const bool by_stop = filter_.stopped() || finish == generate::Finish::kStop;
  call_.send(ChoiceEnd{choice_, by_stop ? FinishReason::kStop : FinishReason::kLength, untold()});
}

void ChoiceWriter::send(std::string text, bool all_tokens) {
  sent_ += text.size();
  TextPiece piece{choice_, std::move(text), {}};
  while (!held_.empty() && (all_tokens || held_.front().begin < sent_)) {
    piece.tokens.push_back(std::move(held_.front().token));
    held_.pop_front();
  }
  if (piece.text.empty() && piece.tokens.empty()) return;
  piece.computed = untold();
  call_.send(piece);
}

std::int64_t ChoiceWriter::untold() { return tokens_ - std::exchange(told_, tokens_); }

ChosenToken ChoiceWriter::describe(const generate::Token& token) const {
  ChosenToken chosen{describe(token.id, token.log_probabilities.chosen), {}};
  for (const generate::LogProbability& one : token.log_probabilities.top) chosen.top.push_back(describe(one.id, one.value));
  return chosen;
}

/// What the token adds behind the one before it: alone, some tokenizers drop its leading space.
TokenProbability ChoiceWriter::describe(std::int32_t id, double logprob) const {
  const std::array<std::int32_t, 2> ids{last_, id};
  const std::string before = tokenizer_.decode(std::span(ids).first(1), false);
  std::string both = tokenizer_.decode(ids, false);
  std::string bytes = both.starts_with(before) ? both.substr(before.size()) : tokenizer_.decode(std::span(ids).last(1), false);
  return {text::to_valid_utf8(bytes), bytes, logprob};
}

}  // namespace finetuned::inference
