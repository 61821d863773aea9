#include "services/gateway/generation.h"

#include <algorithm>

#include "base/log.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

using inference::AnswerLine;
using inference::Done;
using inference::Failure;
using inference::TextPiece;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Steady = std::chrono::steady_clock;

namespace {

constexpr int kMostLost = 2;  // a request that workers die of is not handed to all of them
constexpr seconds kWorkerWanted{5};  // within which another worker may have come

base::ApiError as_refusal(const Failure& failure) {
  const bool retryable = failure.status == 429 || failure.status == 503;
  return {failure.status, failure.type, failure.code, failure.message, failure.param, retryable};
}

}  // namespace

Generations::Generations(inference::Directory& workers, std::size_t most, seconds longest_time)
    : directory(workers), longest(longest_time), of_all(most), of_project(std::max<std::size_t>(1, most / 4)) {}

TryLater::TryLater(int http_status, std::string error_type, std::string error_code, const std::string& message, seconds after)
    : ApiError(http_status, std::move(error_type), std::move(error_code), message, std::nullopt, true), retry_after(after) {}

namespace {

Slots::Slot take(Slots& slots, const std::string& key, const char* whose) {
  auto slot = slots.take(key);
  if (!slot)
    throw TryLater(429, "requests", "too_many_generations",
                   std::string("Too many answers are being generated at once ") + whose + ". Try again when one has ended.",
                   seconds(1));
  return std::move(*slot);
}

}  // namespace

GenerationPlace::GenerationPlace(Generations& generations, const std::string& project_id)
    : of_all(take(generations.of_all, "", "by this server")),
      of_project(take(generations.of_project, project_id, "for your project")) {}

Generation::Generation(postgres::Pool& pool, Generations& generations, GenerationPlace place,
                       inference::InferenceRequest request, GenerationBill bill, TakenTokens tokens)
    : pool_(pool), place_(std::move(place)), request_(std::move(request)), bill_(std::move(bill)),
      tokens_(std::move(tokens)),
      deadline_(Steady::now() + generations.longest), workers_(generations.directory.find(request_.base)) {
  std::reverse(workers_.begin(), workers_.end());
  usage_.prompt_tokens = usage_.completion_tokens = 0;
  usage_.whole = false;
}

Generation::~Generation() {
  if (link_) count_the_rest();
  link_.reset();
  if (!settled_) settle();
}

std::vector<AnswerLine> Generation::read() {
  if (Steady::now() >= deadline_)
    throw base::ApiError(504, "server_error", "generation_timeout",
                         "The answer took longer than this server allows. Ask for fewer tokens, or stream it.");
  if (failure_) throw as_refusal(*failure_);
  auto lines = ask_workers();
  note(lines);
  return lines;
}

Wait Generation::wait() const { return link_ ? link_->wait() : Wait{.at_most = milliseconds(0)}; }

/// What the worker at hand says; another is asked where it can't begin the answer. Each turn uses one of workers_ up.
std::vector<AnswerLine> Generation::ask_workers() {
  for (;;) {
    if (!link_) connect_next();
    try {
      auto lines = link_->read();
      take_begun(lines);
      const Failure* failure = begun_ || lines.empty() ? nullptr : std::get_if<Failure>(&lines.front());
      if (!failure) return lines;
      if (failure->status < 500 && failure->status != 429) throw as_refusal(*failure);
      refusal_ = *failure;
      if (failure->status >= 500) ++lost_;
    } catch (const WorkerGone& error) {
      base::log_warn("an inference worker was lost", {{"worker", worker_}, {"request", request_.request_id}, {"why", error.what()}});
      if (begun_)
        throw base::ApiError(500, "server_error", "generation_failed", "The model's worker went away in the middle of the answer.",
                             std::nullopt, true);
      ++lost_;
    }
    link_.reset();
    taken_up_ = false;  // what it did for nothing is not the project's
    if (lost_ >= kMostLost) give_up();
  }
}

void Generation::connect_next() {
  while (!link_) {
    if (workers_.empty()) give_up();
    const auto next = std::move(workers_.back());
    workers_.pop_back();
    const auto left = std::chrono::duration_cast<milliseconds>(deadline_ - Steady::now()).count();
    request_.deadline_ms = std::clamp<std::int64_t>(left, 1, inference::kLongestDeadlineMs);
    try {
      link_ = std::make_unique<InferenceLink>(next.socket, request_);
      worker_ = next.name;
    } catch (const WorkerGone& error) {
      base::log_warn("an inference worker cannot be reached", {{"worker", next.name}, {"request", request_.request_id}, {"why", error.what()}});
    }
  }
}

void Generation::give_up() const {
  if (refusal_ && refusal_->status == 429)
    throw TryLater(429, refusal_->type, refusal_->code, refusal_->message,
                   std::chrono::ceil<seconds>(milliseconds(refusal_->retry_after_ms.value_or(1000))));
  if (refusal_) throw as_refusal(*refusal_);
  throw TryLater(503, "server_error", "model_not_available",
                 lost_ > 0 ? "The workers that answer for this model went away. Try again shortly."
                           : "No worker answers for this model now. Try again shortly.",
                 kWorkerWanted);
}

/// The line that is for counting alone: nothing of the answer has come with it.
void Generation::take_begun(std::vector<AnswerLine>& lines) {
  std::erase_if(lines, [this](const AnswerLine& line) {
    const auto* begun = std::get_if<inference::Begun>(&line);
    if (!begun) return false;
    usage_.prompt_tokens = begun->prompt_tokens;
    taken_up_ = true;
    return true;
  });
}

/// What has come since the last look, before nobody looks any more.
void Generation::count_the_rest() noexcept {
  try {
    auto lines = link_->read();
    take_begun(lines);
    note(lines);
  } catch (const std::exception&) {  // what is not there cannot be counted
  }
}

/// Counts what has come, and sees to its end: nothing counts behind it.
void Generation::note(std::vector<AnswerLine>& lines) {
  for (auto line = lines.begin(); line != lines.end(); ++line) {
    begun_ = taken_up_ = true;
    if (const auto* text = std::get_if<TextPiece>(&*line)) {
      usage_.completion_tokens += text->computed;
    } else if (const auto* end = std::get_if<inference::ChoiceEnd>(&*line)) {
      usage_.completion_tokens += end->computed;
    } else if (const auto* failure = std::get_if<Failure>(&*line)) {
      if (line == lines.begin()) throw as_refusal(*failure);
      failure_ = *failure;
      link_.reset();
      lines.erase(line, lines.end());
      return;
    } else if (const auto* done = std::get_if<Done>(&*line)) {
      lines.erase(line + 1, lines.end());
      usage_.prompt_tokens = done->prompt_tokens;
      usage_.completion_tokens = done->completion_tokens;
      usage_.whole = true;
      link_.reset();
      settle();
      return;
    }
  }
}

/// An answer is not taken back where the database is away: the log then has what it took, and its hold expires.
void Generation::settle() {
  settled_ = true;
  std::optional<storage::InferenceUsage> used;
  if (taken_up_) {
    tokens_.settle(usage_.prompt_tokens + usage_.completion_tokens);
    used = usage_;
  }
  if (!used && !bill_.hold) return;
  std::string why;
  for (int tries = 0; tries < 2; ++tries) {
    try {
      pool_.transact(postgres::Scope::project(usage_.project_id),
                     [&](postgres::Transaction& tx) { billing::settle_inference(tx, bill_.terms, bill_.hold, used); });
      return;
    } catch (const std::exception& error) {
      why = error.what();
    }
  }
  base::log_error("what an answer took could not be written down and charged",
                  {{"request", usage_.request_id}, {"project", usage_.project_id}, {"model", usage_.model},
                   {"hold", bill_.hold ? bill_.hold->transfer_id : "none"},
                   {"prompt_tokens", usage_.prompt_tokens}, {"completion_tokens", usage_.completion_tokens}, {"why", why}});
}

}  // namespace finetuned::gateway
