#include "services/inference/call.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <system_error>


namespace finetuned::inference {

namespace {

constexpr std::int64_t kRetryAfterMs = 1'000;

base::FileDescriptor make_event() {
  base::FileDescriptor event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid()) throw std::system_error(errno, std::generic_category(), "eventfd");
  return event;
}

}  // namespace

Call::Call(InferenceRequest asked)
    : request(std::move(asked)), arrived(std::chrono::steady_clock::now()),
      deadline(arrived + std::chrono::milliseconds(request.deadline_ms)), event_(make_event()) {}

void Call::send(const AnswerLine& line) {
  const std::string text = serialise(line);
  {
    const std::lock_guard lock(mutex_);
    if (ended_ || cancelled_) return;
    if (waiting_.size() + text.size() > kMostWaitingBytes) {
      cancelled_ = true;
      ended_ = true;
    } else {
      waiting_ += text;
      ended_ = std::holds_alternative<Done>(line) || std::holds_alternative<Failure>(line);
    }
  }
  const std::uint64_t one = 1;
  if (::write(event_.get(), &one, sizeof one) < 0) return;  // it is readable already
}

Call::Lines Call::take() {
  std::uint64_t count = 0;
  if (::read(event_.get(), &count, sizeof count) < 0) count = 0;
  const std::lock_guard lock(mutex_);
  return {std::exchange(waiting_, {}), ended_};
}

Failure failure_of(const base::ApiError& error) {
  Failure failure{error.status, error.type, error.code, error.what(), error.param, std::nullopt};
  if (error.retryable) failure.retry_after_ms = kRetryAfterMs;
  return failure;
}

}  // namespace finetuned::inference
