#include "services/gateway/object_calls.h"

#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/this_coro.hpp>
#include <future>
#include <thread>

#include "services/gateway/beside.h"

namespace finetuned::gateway {
namespace {

using namespace std::chrono_literals;
using Steady = std::chrono::steady_clock;

/// Work that ends when it is let, in a call on the store or beside one.
struct Held {
  std::promise<void> gate;
  std::shared_future<void> open = gate.get_future().share();
  std::promise<void> begun;
};

/// What became of work.
struct Told {
  std::promise<bool> answered;
  std::future<bool> future = answered.get_future();
  /// True where it was done, false where it was given up; tells once, or the promise throws.
  auto complete() {
    return [this](std::optional<std::monostate>, const std::exception_ptr& error) {
      if (!error) return answered.set_value(true);
      try {
        std::rethrow_exception(error);
      } catch (const Unanswered& unanswered) {
        EXPECT_EQ(unanswered.status, 503);
        EXPECT_EQ(unanswered.code, "storage_unavailable");
        answered.set_value(false);
      }
    };
  }
};

auto hang(Held& held) {
  return [&held] {
    ObjectCalls::Span span("hang");
    held.begun.set_value();
    held.open.wait();
    if (!span.end()) throw Unanswered();
  };
}

template <class Done>
bool soon(Done done) {
  for (const auto end = Steady::now() + 10s; Steady::now() < end; std::this_thread::sleep_for(1ms))
    if (done()) return true;
  return false;
}

TEST(ObjectCalls, ACallThatHangsIsGivenUpAndItsWorkGoesOnAlone) {
  ObjectCalls calls(2, 8, {50ms, 50ms});
  Held held;
  Told told;
  std::atomic<bool> destroyed = false, on_its_thread = false;
  {
    std::shared_ptr<int> owned(new int(0), [&](const int* number) {
      on_its_thread = ObjectCalls::here();
      delete number;
      destroyed = true;
    });
    calls.begin([owned, call = hang(held)] { call(); }, told.complete());
  }
  const auto begin = Steady::now();
  EXPECT_FALSE(told.future.get());
  EXPECT_GE(Steady::now() - begin, 40ms);
  EXPECT_LT(Steady::now() - begin, 5s);
  EXPECT_TRUE(calls.counts().given_up > 0);
  EXPECT_EQ(calls.counts().busy, 1u);
  EXPECT_FALSE(destroyed) << "the call may use it";
  Told other;
  calls.begin([] {}, other.complete());
  EXPECT_TRUE(other.future.get()) << "by the other thread";
  held.gate.set_value();
  EXPECT_TRUE(soon([&] { return calls.counts().given_up == 0; }));
  EXPECT_TRUE(destroyed);
  EXPECT_TRUE(on_its_thread);
}

TEST(ObjectCalls, WorkBesideACallIsNotGivenUp) {
  ObjectCalls calls(1, 8, {20ms, 20ms});
  Told told;
  calls.begin([] { std::this_thread::sleep_for(100ms); }, told.complete());
  EXPECT_TRUE(told.future.get()) << "a transaction that is under way ends as it ends";
}

TEST(ObjectCalls, EachCallHasItsOwnTime) {
  ObjectCalls calls(1, 8, {200ms, 200ms});
  Told told;
  calls.begin(
      [] {
        for (int i = 0; i < 8; ++i) {
          ObjectCalls::Span span("short");
          std::this_thread::sleep_for(50ms);
          if (!span.end()) throw Unanswered();
        }
      },
      told.complete());
  EXPECT_TRUE(told.future.get());
}

TEST(ObjectCalls, ACallMaySayThatItTakesLonger) {
  ObjectCalls calls(1, 8, {50ms, 50ms});
  Told longer, usual;
  const auto take = [](std::chrono::milliseconds more) {
    return [more] {
      ObjectCalls::Span span("commit", more);
      std::this_thread::sleep_for(200ms);
      if (!span.end()) throw Unanswered();
    };
  };
  calls.begin(take(10s), longer.complete());
  EXPECT_TRUE(longer.future.get());
  calls.begin(take(0s), usual.complete());
  EXPECT_FALSE(usual.future.get());
}

TEST(ObjectCalls, WaitingForAThreadIsGivenUpSoonerThanACall) {
  ObjectCalls calls(1, 8, {.for_a_thread = 50ms, .for_a_call = 10s});
  Held held;
  Told running, waiting;
  calls.begin(hang(held), running.complete());
  held.begun.get_future().wait();
  calls.begin([] {}, waiting.complete());
  EXPECT_FALSE(waiting.future.get());
  EXPECT_EQ(calls.counts().given_up, 0u);
  held.gate.set_value();
  EXPECT_TRUE(running.future.get());
}

TEST(ObjectCalls, WhatWaitsForAThreadIsGivenUpWithoutHavingBegun) {
  ObjectCalls calls(2, 8, {100ms, 100ms});
  Held busy, hung;
  Told first, second, third;
  calls.begin([&busy] { busy.begun.set_value(), busy.open.wait(); }, first.complete());  // beside a call: it only takes its time
  calls.begin(hang(hung), second.complete());
  busy.begun.get_future().wait();
  hung.begun.get_future().wait();
  std::atomic<bool> ran = false;
  calls.begin([&ran] { ran = true; }, third.complete());
  EXPECT_FALSE(third.future.get());
  EXPECT_FALSE(second.future.get());
  hung.gate.set_value();
  EXPECT_TRUE(soon([&] { return calls.counts().given_up == 0; }));
  busy.gate.set_value();
  EXPECT_TRUE(first.future.get());
  calls.close();
  EXPECT_FALSE(ran);
}

TEST(ObjectCalls, AFullQueueRefusesAtOnce) {
  ObjectCalls calls(1, 1, {10s, 10s});
  Held held;
  Told running, waiting, refused;
  calls.begin(hang(held), running.complete());
  held.begun.get_future().wait();
  calls.begin([] {}, waiting.complete());
  calls.begin([] {}, refused.complete());
  ASSERT_EQ(refused.future.wait_for(0s), std::future_status::ready);
  EXPECT_FALSE(refused.future.get());
  held.gate.set_value();
  EXPECT_TRUE(running.future.get());
  EXPECT_TRUE(waiting.future.get());
}

TEST(ObjectCalls, WhereAllThreadsHangNobodyWaits) {
  ObjectCalls calls(1, 8, {200ms, 200ms});
  Held held;
  Told running, waiting, refused;
  calls.begin(hang(held), running.complete());
  held.begun.get_future().wait();
  std::this_thread::sleep_for(100ms);
  calls.begin([] {}, waiting.complete());
  EXPECT_FALSE(running.future.get());
  EXPECT_EQ(waiting.future.wait_for(90ms), std::future_status::ready) << "it has waited for half its time, in vain";
  EXPECT_FALSE(waiting.future.get());
  calls.begin([] {}, refused.complete());
  ASSERT_EQ(refused.future.wait_for(0s), std::future_status::ready);
  EXPECT_FALSE(refused.future.get());
  held.gate.set_value();
  EXPECT_TRUE(soon([&] { return calls.counts().given_up == 0; }));
  Told after;
  calls.begin([] {}, after.complete());
  EXPECT_TRUE(after.future.get());
}

TEST(ObjectCalls, WhatIsToBeDestroyedWaitsForAThreadAlsoWhereNoneIsLeft) {
  ObjectCalls calls(1, 1, {50ms, 50ms});
  Held held;
  Told running, told;
  calls.begin(hang(held), running.complete());
  EXPECT_FALSE(running.future.get());
  std::atomic<bool> destroyed = false, on_its_thread = false;
  std::shared_ptr<int> owned(new int(0), [&](const int* number) {
    on_its_thread = ObjectCalls::here();
    delete number;
    destroyed = true;
  });
  calls.destroy(std::move(owned), told.complete());
  EXPECT_FALSE(told.future.get());
  EXPECT_FALSE(destroyed);
  held.gate.set_value();
  calls.close();
  EXPECT_TRUE(destroyed);
  EXPECT_TRUE(on_its_thread);
}

TEST(ObjectCalls, WhatIsSeenToIsDoneOnceAThreadIsThere) {
  ObjectCalls calls(1, 1, {50ms, 50ms});
  Held held;
  Told running;
  calls.begin(hang(held), running.complete());
  EXPECT_FALSE(running.future.get());
  std::atomic<bool> done = false;
  calls.see_to([&done] { done = true; });
  std::this_thread::sleep_for(100ms);
  EXPECT_FALSE(done);
  held.gate.set_value();
  calls.close();
  EXPECT_TRUE(done);
}

TEST(ObjectCalls, AfterItsEndItRefuses) {
  ObjectCalls calls(1, 8, {10s, 10s});
  Told before, after;
  calls.begin([] {}, before.complete());
  calls.close();
  EXPECT_TRUE(before.future.get());
  calls.begin([] {}, after.complete());
  EXPECT_FALSE(after.future.get());
}

TEST(Beside, WhoWaitsIsDestroyedWithItsConnection) {
  ObjectCalls calls(1, 8, {10s, 10s});
  auto sentinel = std::make_shared<int>(0);
  const std::weak_ptr<int> alive = sentinel;
  std::optional<boost::asio::io_context> io(std::in_place);
  std::promise<void> gate;
  auto serve = [&calls, &gate, owned = sentinel]() -> boost::asio::awaitable<void> {
    const auto mine = owned;
    const auto executor = co_await boost::asio::this_coro::executor;
    Beside beside(calls, executor);
    beside.begin([open = gate.get_future().share()] { open.wait(); });
    co_await beside.wait();
  };
  boost::asio::co_spawn(*io, std::move(serve), boost::asio::detached);
  sentinel.reset();
  io->poll();
  gate.set_value();
  calls.close();  // the work is done, and its answer waits on a context that runs no more
  EXPECT_FALSE(alive.expired());
  io.reset();
  EXPECT_TRUE(alive.expired());
}

TEST(ObjectCallsDeathTest, NoOtherThreadCallsTheStore) {
  EXPECT_DEATH(ObjectCalls::Span("read"), "on its own threads");
}

}  // namespace
}  // namespace finetuned::gateway
