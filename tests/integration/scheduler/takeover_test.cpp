// A scheduler that dies, or stops, in the middle of a duty.

#include <csignal>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "services/scheduler/scheduler.h"
#include "storage/outbox_store.h"
#include "tests/integration/platform/eventually.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned::scheduler {
namespace {

using postgres::Scope;
using postgres::Transaction;

/// A Redis that takes connections and never answers: whoever asks it waits in the middle of its transaction.
class SilentRedis {
 public:
  SilentRedis() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 16) != 0 ||
        ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0)
      throw std::runtime_error("no port for a silent Redis");
    address_.host = "127.0.0.1";
    address_.port = ntohs(address.sin_port);
    address_.timeout = std::chrono::minutes(1);
  }
  ~SilentRedis() { ::close(listener_); }
  SilentRedis(const SilentRedis&) = delete;
  SilentRedis& operator=(const SilentRedis&) = delete;

  const redis::Address& address() const { return address_; }

 private:
  int listener_ = ::socket(AF_INET, SOCK_STREAM, 0);
  redis::Address address_;
};

/// The other scheduler: a process of its own that is in its relay duty until it is killed.
class Relaying {
 public:
  explicit Relaying(const redis::Address& nowhere) : process_(::fork()) {
    if (process_ != 0) return;
    try {
      const auto pool = tests::make_pool(1);
      redis::Client redis(nowhere);
      Scheduler(*pool, redis, {}).relay_outbox();
    } catch (const std::exception&) {
    }
    ::_exit(0);
  }
  ~Relaying() {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  Relaying(const Relaying&) = delete;
  Relaying& operator=(const Relaying&) = delete;

  void signal(int number) const { ::kill(process_, number); }

 private:
  pid_t process_;
};

class TakeoverTest : public testing::TestWithParam<int> {};

TEST_P(TakeoverTest, AnotherSchedulerDoesTheDutyWithinTenSeconds) {
  const auto project = tests::make_project(tests::pool());
  tests::pool().transact(Scope::project(project.id), [&](Transaction& tx) {
    tx.execute("DELETE FROM outbox");
    storage::OutboxStore(tx).add(project.id, storage::kJobsStream, "ftjob-x");
  });
  const auto waiting = [&] {
    return tests::pool().transact(Scope::system(), [](Transaction& tx) {
      return tx.execute("SELECT count(*) AS messages FROM outbox").row(0).integer("messages");
    });
  };
  const auto in_duty = [&] {
    return tests::pool().transact(Scope::system(), [](Transaction& tx) {
      return tx.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND database ="
                        " (SELECT oid FROM pg_database WHERE datname = current_database())) AS taken").row(0).boolean("taken");
    });
  };
  const SilentRedis silent;
  const Relaying other(silent.address());
  ASSERT_TRUE(tests::eventually(in_duty, 20));
  redis::Client redis(tests::redis_address());
  Scheduler scheduler(tests::pool(), redis, {});
  scheduler.relay_outbox();
  ASSERT_EQ(waiting(), 1) << "the other one is at it";
  other.signal(GetParam());
  EXPECT_TRUE(tests::eventually([&] { return scheduler.relay_outbox(), waiting() == 0; }, 10));
}

INSTANTIATE_TEST_SUITE_P(WhenItIs, TakeoverTest, testing::Values(SIGKILL, SIGSTOP),
                         [](const auto& one) { return std::string(one.param == SIGKILL ? "Killed" : "Stopped"); });

}  // namespace
}  // namespace finetuned::scheduler
