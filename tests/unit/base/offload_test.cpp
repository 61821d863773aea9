#include "base/offload.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <future>
#include <memory>
#include <stdexcept>
#include <thread>

namespace finetuned::base {
namespace {

namespace asio = boost::asio;

template <class Coroutine>
void run(Coroutine coroutine) {
  asio::io_context context;
  std::exception_ptr error;
  asio::co_spawn(context, std::move(coroutine), [&error](std::exception_ptr thrown) { error = thrown; });
  context.run();
  if (error) std::rethrow_exception(error);
}

TEST(Offload, RunsElsewhereAndResumesHere) {
  BlockingPool pool(2, 8);
  std::thread::id worked_on, resumed_on;
  std::unique_ptr<int> result;  // move-only values come back whole
  auto body = [&]() -> asio::awaitable<void> {
    auto work = [&worked_on] {
      worked_on = std::this_thread::get_id();
      return std::make_unique<int>(42);
    };
    result = co_await offload(pool, std::move(work));
    resumed_on = std::this_thread::get_id();
  };
  run(body());
  EXPECT_EQ(*result, 42);
  EXPECT_NE(worked_on, std::this_thread::get_id());
  EXPECT_EQ(resumed_on, std::this_thread::get_id());
}

TEST(Offload, CarriesExceptionsToTheCaller) {
  BlockingPool pool(1, 8);
  auto body = [&]() -> asio::awaitable<void> {
    auto work = [] { throw std::runtime_error("no such row"); };
    co_await offload(pool, std::move(work));
  };
  EXPECT_THROW(run(body()), std::runtime_error);
}

TEST(Offload, RefusesBeyondItsQueue) {
  BlockingPool pool(1, 1);
  std::promise<void> release, started;
  std::shared_future<void> released = release.get_future().share();
  ASSERT_TRUE(pool.try_submit([&started, released] {
    started.set_value();
    released.wait();
  }));
  started.get_future().wait();
  ASSERT_TRUE(pool.try_submit([] {}));  // waits in the queue: it is full now
  auto body = [&]() -> asio::awaitable<void> {
    auto work = [] { return 1; };
    co_await offload(pool, std::move(work));
  };
  EXPECT_THROW(run(body()), Overloaded);
  release.set_value();
}

TEST(CalledBack, ResumesWithWhatAnyThreadHands) {
  int got = 0;
  std::jthread other;
  auto body = [&]() -> asio::awaitable<void> {
    auto begin = [&other](auto complete) {
      other = std::jthread([complete] { complete(std::optional<int>(7), nullptr); });
    };
    got = co_await called_back<int>(begin);
  };
  run(body());
  EXPECT_EQ(got, 7);
}

TEST(CalledBack, ThrowsWhatBeginningThrowsOrTheCallBringsAlong) {
  auto at_once = []() -> asio::awaitable<void> {
    auto begin = [](auto) { throw std::runtime_error("not begun"); };
    co_await called_back<int>(begin);
  };
  EXPECT_THROW(run(at_once()), std::runtime_error);
  auto later = []() -> asio::awaitable<void> {
    auto begin = [](auto complete) { complete(std::nullopt, std::make_exception_ptr(std::logic_error("no"))); };
    co_await called_back<int>(begin);
  };
  EXPECT_THROW(run(later()), std::logic_error);
}

TEST(Offload, ManyAtOnce) {
  BlockingPool pool(4, 1000);
  asio::io_context context;
  int sum = 0;
  for (int i = 1; i <= 500; ++i) {
    auto body = [](BlockingPool& on, int number, int& total) -> asio::awaitable<void> {
      auto work = [number] { return number; };
      total += co_await offload(on, std::move(work));
    };
    asio::co_spawn(context, body(pool, i, sum), asio::detached);
  }
  context.run();
  EXPECT_EQ(sum, 500 * 501 / 2);
}

}  // namespace
}  // namespace finetuned::base
