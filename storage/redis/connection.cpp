#include "storage/redis/connection.h"

#include <hiredis/hiredis.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <memory>
#include <utility>

namespace finetuned::redis {

namespace {

constexpr std::chrono::milliseconds kFirstBackoff{50};
constexpr std::chrono::milliseconds kLongestBackoff{2'000};

timeval to_timeval(std::chrono::milliseconds time) {
  return {static_cast<time_t>(time.count() / 1000), static_cast<suseconds_t>(time.count() % 1000 * 1000)};
}

/// hiredis 0.14 writes with write(2), so a server that went away would end the process by SIGPIPE: held back for this
/// thread while it stands, and a signal that came is taken.
class WithoutSigpipe {
 public:
  WithoutSigpipe() {
    sigemptyset(&pipe_);
    sigaddset(&pipe_, SIGPIPE);
    sigset_t pending;
    sigpending(&pending);
    was_pending_ = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_, &before_);
  }
  ~WithoutSigpipe() {
    if (!was_pending_) {
      const timespec at_once{};
      while (sigtimedwait(&pipe_, nullptr, &at_once) < 0 && errno == EINTR) {
      }
    }
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  WithoutSigpipe(const WithoutSigpipe&) = delete;
  WithoutSigpipe& operator=(const WithoutSigpipe&) = delete;

 private:
  sigset_t pipe_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

Reply copy_reply(const redisReply& from) {
  Reply to;
  switch (from.type) {
    case REDIS_REPLY_INTEGER:
      to.kind = Reply::Kind::kInteger;
      to.integer = from.integer;
      break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
      to.kind = Reply::Kind::kText;
      to.text.assign(from.str, from.len);
      break;
    case REDIS_REPLY_ERROR:
      to.kind = Reply::Kind::kError;
      to.text.assign(from.str, from.len);
      break;
    case REDIS_REPLY_ARRAY:
      to.kind = Reply::Kind::kArray;
      for (std::size_t i = 0; i < from.elements; ++i) to.elements.push_back(copy_reply(*from.element[i]));
      break;
    default:
      break;
  }
  return to;
}

}  // namespace

Connection::Connection(Address address) : address_(std::move(address)) {}
Connection::~Connection() { close(); }

void Connection::close() {
  const std::lock_guard lock(closing_);
  if (context_) redisFree(context_);
  context_ = nullptr;
}

void Connection::failed() {
  close();
  backoff_ = backoff_.count() == 0 ? kFirstBackoff : std::min(backoff_ * 2, kLongestBackoff);
  next_try_ = std::chrono::steady_clock::now() + backoff_;
}

std::chrono::milliseconds Connection::until_next_try() const {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(next_try_ - std::chrono::steady_clock::now());
  return std::max(left, std::chrono::milliseconds{0});
}

bool Connection::ensure_open() {
  if (context_) return true;
  if (std::chrono::steady_clock::now() < next_try_) return false;
  const timeval limit = to_timeval(address_.timeout);
  redisContext* opened = address_.socket.empty()
                             ? redisConnectWithTimeout(address_.host.c_str(), address_.port, limit)
                             : redisConnectUnixWithTimeout(address_.socket.c_str(), limit);
  if (!opened || opened->err) {
    if (opened) redisFree(opened);
    failed();
    return false;
  }
  const std::lock_guard lock(closing_);
  context_ = opened;
  return true;
}

std::optional<Reply> Connection::command(const std::vector<std::string>& words,
                                         std::chrono::milliseconds blocking_for) {
  if (!context_) return std::nullopt;
  std::vector<const char*> texts;
  std::vector<std::size_t> sizes;
  for (const std::string& word : words) {
    texts.push_back(word.data());
    sizes.push_back(word.size());
  }
  const WithoutSigpipe without_sigpipe;
  redisSetTimeout(context_, to_timeval(address_.timeout + blocking_for));
  const std::unique_ptr<redisReply, void (*)(void*)> reply(
      static_cast<redisReply*>(
          redisCommandArgv(context_, static_cast<int>(texts.size()), texts.data(), sizes.data())),
      freeReplyObject);
  if (!reply) {
    failed();
    return std::nullopt;
  }
  backoff_ = std::chrono::milliseconds{0};
  return copy_reply(*reply);
}

void Connection::interrupt() {
  const std::lock_guard lock(closing_);
  if (context_) ::shutdown(context_->fd, SHUT_RDWR);
}

}  // namespace finetuned::redis
