#include "storage/redis/client.h"

#include <mutex>
#include <thread>
#include <utility>

#include "base/log.h"
#include "storage/redis/connection.h"

namespace finetuned::redis {

struct Client::State {
  explicit State(Address address) : connection(std::move(address)) {}
  std::mutex mutex;
  Connection connection;
};

Client::Client(Address address) : state_(std::make_unique<State>(std::move(address))) {}
Client::~Client() = default;

std::optional<Reply> Client::command(const std::vector<std::string>& words) {
  const std::lock_guard lock(state_->mutex);
  const bool reused = state_->connection.is_open();
  if (!state_->connection.ensure_open()) return std::nullopt;
  auto reply = state_->connection.command(words);
  // A server that was started anew leaves a dead connection behind: one fresh try tells it from a server that is away.
  // Commands that must not run twice do not exist here: a wake may come twice.
  if (!reply && reused) {
    std::this_thread::sleep_for(state_->connection.until_next_try());
    if (state_->connection.ensure_open()) reply = state_->connection.command(words);
  }
  return reply;
}

bool Client::ping() {
  const auto reply = command({"PING"});
  return reply && reply->kind == Reply::Kind::kText;
}

bool Client::add_to_stream(const std::string& stream, const std::string& payload) {
  const auto reply = command({"XADD", stream, "MAXLEN", "~", "10000", "*", "payload", payload});
  if (reply && reply->kind == Reply::Kind::kError)
    base::log_warn("Redis refused a message", {{"stream", stream}, {"error", reply->text}});
  return reply && reply->kind == Reply::Kind::kText;
}

}  // namespace finetuned::redis
