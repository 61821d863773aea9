#include "storage/redis/stream_reader.h"

#include <algorithm>
#include <atomic>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/stop.h"
#include "storage/redis/connection.h"

namespace finetuned::redis {

namespace {

constexpr std::chrono::milliseconds kBlock{2'000};
constexpr std::chrono::milliseconds kPauseAfterRefusal{500};

}  // namespace

struct StreamReader::State {
  StreamReaderOptions options;
  std::function<void(const std::string&)> on_message;
  Connection connection;
  std::atomic<bool> connected{false};
  std::jthread thread;

  State(StreamReaderOptions with, std::function<void(const std::string&)> handler)
      : options(std::move(with)), on_message(std::move(handler)), connection(options.address) {}

  void run(const std::stop_token& stop);
  bool open_and_join_group(const std::stop_token& stop);
  bool make_group();
  bool read_once();
};

bool StreamReader::State::make_group() {
  const auto reply =
      connection.command({"XGROUP", "CREATE", options.stream, options.group, "$", "MKSTREAM"});
  if (!reply) return false;
  if (reply->kind == Reply::Kind::kError && !reply->text.starts_with("BUSYGROUP")) {
    base::log_warn("Redis refused the group", {{"stream", options.stream}, {"error", reply->text}});
    return false;
  }
  return true;
}

bool StreamReader::State::open_and_join_group(const std::stop_token& stop) {
  // Either the destructor's interrupt() finds this connection, or its request to stop is seen here.
  if (!connection.ensure_open() || stop.stop_requested()) return false;
  if (!make_group()) return false;
  connected = true;
  on_message("");
  return true;
}

/// False when the connection or the group is to be made again.
bool StreamReader::State::read_once() {
  const auto reply = connection.command(
      {"XREADGROUP", "GROUP", options.group, options.consumer, "COUNT", "64", "BLOCK",
       std::to_string(kBlock.count()), "NOACK", "STREAMS", options.stream, ">"},
      kBlock);
  if (!reply) return false;
  if (reply->kind == Reply::Kind::kError) {
    // NOGROUP, or UNBLOCKED when the stream was deleted under the wait: both after FLUSHALL.
    if (!reply->text.starts_with("NOGROUP") && !reply->text.starts_with("UNBLOCKED"))
      base::log_warn("Redis refused a read", {{"stream", options.stream}, {"error", reply->text}});
    return false;
  }
  if (reply->kind != Reply::Kind::kArray) return true;  // nothing within the wait
  for (const Reply& stream : reply->elements) {
    if (stream.elements.size() != 2) continue;
    for (const Reply& entry : stream.elements[1].elements) {
      if (entry.elements.size() != 2 || entry.elements[1].elements.size() < 2) continue;
      on_message(entry.elements[1].elements[1].text);
    }
  }
  return true;
}

void StreamReader::State::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    if (!open_and_join_group(stop)) {
      const bool refused = connection.is_open();
      const auto pause = refused ? kPauseAfterRefusal : connection.until_next_try();
      if (!base::sleep_unless_stopped(stop, std::max(pause, std::chrono::milliseconds{1}))) return;
      continue;
    }
    while (!stop.stop_requested() && read_once()) {
    }
    connected = false;
    if (connection.is_open() && !base::sleep_unless_stopped(stop, std::chrono::milliseconds{50})) return;
  }
}

StreamReader::StreamReader(StreamReaderOptions options, std::function<void(const std::string&)> on_message)
    : state_(std::make_unique<State>(std::move(options), std::move(on_message))) {
  State& state = *state_;
  state.thread = std::jthread([&state](const std::stop_token& stop) { state.run(stop); });
}

StreamReader::~StreamReader() {
  state_->thread.request_stop();
  state_->connection.interrupt();
  state_->thread.join();
}

bool StreamReader::connected() const { return state_->connected; }

}  // namespace finetuned::redis
