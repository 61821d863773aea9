#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/ids.h"
#include "storage/redis/client.h"
#include "storage/redis/stream_reader.h"
#include "tests/integration/support/private_redis.h"
#include "tests/integration/support/services.h"

namespace finetuned {
namespace {

using namespace std::chrono_literals;
using tests::PrivateRedis;

/// What a reader heard, with a limit on waiting.
class Heard {
 public:
  void add(const std::string& payload) {
    const std::lock_guard lock(mutex_);
    all_.push_back(payload);
    changed_.notify_all();
  }
  bool wait_for(const std::string& payload, int times = 1, std::chrono::milliseconds limit = 8s) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, limit, [&] { return std::count(all_.begin(), all_.end(), payload) >= times; });
  }
  std::ptrdiff_t count(const std::string& payload) {
    const std::lock_guard lock(mutex_);
    return std::count(all_.begin(), all_.end(), payload);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> all_;
};

redis::StreamReaderOptions reading(redis::Address address, const std::string& stream) {
  return {.address = std::move(address), .stream = stream, .group = "workers", .consumer = base::make_id("reader")};
}

TEST(RedisClient, CommandsAnswer) {
  redis::Client client(tests::redis_address());
  EXPECT_TRUE(client.ping());
  const std::string key = base::make_id("test");
  const std::string binary("a\0b\r\n", 5);
  EXPECT_EQ(client.command({"SET", key, binary, "EX", "10"})->text, "OK");
  EXPECT_EQ(client.command({"GET", key})->text, binary);
  EXPECT_EQ(client.command({"GET", key + "x"})->kind, redis::Reply::Kind::kNil);
  EXPECT_EQ(client.command({"INCR", key})->kind, redis::Reply::Kind::kError);
  EXPECT_EQ(client.command({"DEL", key})->integer, 1);
}

TEST(RedisClient, AServerAwayIsNeverFatal) {
  redis::Client client({.socket = "/nonexistent/s", .host = "", .port = 0, .timeout = 100ms});
  EXPECT_FALSE(client.ping());
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(client.add_to_stream("s", "p"));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 1s) << "within the backoff commands fail at once";
}

TEST(RedisClient, ComesBackAfterARestart) {
  PrivateRedis server;
  redis::Client client(server.address());
  EXPECT_TRUE(client.ping());
  server.kill_hard();
  EXPECT_FALSE(client.ping());
  server.start();
  bool back = false;
  for (int i = 0; i < 100 && !back; ++i) {
    back = client.ping();
    std::this_thread::sleep_for(25ms);
  }
  EXPECT_TRUE(back);
}

TEST(StreamReader, AMessageWakesOneOfTheGroup) {
  const std::string stream = base::make_id("stream");
  Heard heard;
  const auto listen = [&](const std::string& payload) { heard.add(payload); };
  redis::StreamReader one(reading(tests::redis_address(), stream), listen);
  redis::StreamReader other(reading(tests::redis_address(), stream), listen);
  ASSERT_TRUE(heard.wait_for("", 2)) << "each looks once when it begins";
  redis::Client client(tests::redis_address());
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(client.add_to_stream(stream, "job-" + std::to_string(i)));
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(heard.wait_for("job-" + std::to_string(i)));
  for (int i = 0; i < 20; ++i) EXPECT_EQ(heard.count("job-" + std::to_string(i)), 1);
  client.command({"DEL", stream});
}

TEST(StreamReader, SurvivesFlushallAndAKill) {
  PrivateRedis server;
  Heard heard;
  redis::StreamReader reader(reading(server.address(), "s"), [&](const std::string& p) { heard.add(p); });
  redis::Client client(server.address());
  ASSERT_TRUE(heard.wait_for(""));
  EXPECT_EQ(client.command({"FLUSHALL"})->text, "OK");
  ASSERT_TRUE(heard.wait_for("", 2)) << "the group was made again";
  EXPECT_TRUE(client.add_to_stream("s", "after flush"));
  EXPECT_TRUE(heard.wait_for("after flush"));
  server.kill_hard();
  std::this_thread::sleep_for(200ms);
  EXPECT_FALSE(reader.connected());
  server.start();
  ASSERT_TRUE(heard.wait_for("", 3)) << "connected again, empty as Redis came back";
  bool added = false;
  for (int i = 0; i < 100 && !added; ++i) {
    added = client.add_to_stream("s", "after kill");
    std::this_thread::sleep_for(25ms);
  }
  EXPECT_TRUE(heard.wait_for("after kill"));
}

TEST(StreamReader, EndsAtOnceWhetherRedisIsThereOrNot) {
  PrivateRedis server;
  Heard heard;
  auto there = std::make_unique<redis::StreamReader>(reading(server.address(), "s"),
                                                     [&](const std::string& p) { heard.add(p); });
  ASSERT_TRUE(heard.wait_for(""));
  auto away = std::make_unique<redis::StreamReader>(reading({.socket = "/nonexistent/s", .host = "", .port = 0}, "s"),
                                                    [](const std::string&) {});
  std::this_thread::sleep_for(100ms);
  const auto begun = std::chrono::steady_clock::now();
  there.reset();
  away.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 500ms);
}

}  // namespace
}  // namespace finetuned
