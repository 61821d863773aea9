#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <variant>

#include "services/gateway/object_calls.h"

namespace finetuned::gateway {

/// Work on the object store's threads that its connection goes on beside. Used on the connection's executor.
class Beside {
 public:
  Beside(ObjectCalls& calls, boost::asio::any_io_executor executor) : calls_(calls), executor_(std::move(executor)) {}

  bool busy() const { return outcome_ && !outcome_->done; }

  /// Not while busy. `work` owns what it uses: where it is given up it goes on, and this is not busy any more.
  void begin(std::function<void()> work) {
    auto run = std::make_shared<Run>();
    outcome_ = run->outcome;
    run_ = run;
    auto complete = [run, executor = executor_](std::optional<std::monostate>, const std::exception_ptr& error) {
      run->outcome->failure = error;
      boost::asio::post(executor, [run] {
        run->outcome->done = true;
        if (run->finished) run->finished(std::monostate(), nullptr);
      });
    };
    calls_.begin(std::move(work), std::move(complete));
  }

  boost::asio::awaitable<void> wait() {
    if (!busy()) co_return;
    auto begin = [weak = run_](auto complete) {
      if (const auto run = weak.lock()) run->finished = std::move(complete);
      else complete(std::monostate(), nullptr);
    };
    co_await base::called_back<void>(std::move(begin));
  }

  /// Throws what the last work threw, once it has, or Unanswered.
  void check() const {
    if (outcome_ && outcome_->done && outcome_->failure) std::rethrow_exception(outcome_->failure);
  }

 private:
  struct Outcome {
    bool done = false;           // on the executor
    std::exception_ptr failure;  // set before that
  };
  /// The work's own, so that a coroutine that waits for it does not own itself.
  struct Run {
    std::shared_ptr<Outcome> outcome = std::make_shared<Outcome>();
    std::function<void(std::optional<std::monostate>, std::exception_ptr)> finished;
  };
  ObjectCalls& calls_;
  const boost::asio::any_io_executor executor_;
  std::shared_ptr<Outcome> outcome_;
  std::weak_ptr<Run> run_;
};

}  // namespace finetuned::gateway
