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

#include "base/offload.h"

namespace finetuned::gateway {

/// Work on the pool that its connection goes on beside. Used on the connection's executor.
class Beside {
 public:
  Beside(base::BlockingPool& pool, boost::asio::any_io_executor executor) : pool_(pool), executor_(std::move(executor)) {}

  bool busy() const { return outcome_ && !outcome_->done; }

  /// Not while busy. Throws Overloaded.
  void begin(std::function<void()> work) {
    auto run = std::make_shared<Run>();
    const bool queued = pool_.try_submit([run, work = std::move(work), executor = executor_] {
      try {
        work();
      } catch (...) {
        run->outcome->failure = std::current_exception();
      }
      boost::asio::post(executor, [run] {
        run->outcome->done = true;
        if (run->finished) run->finished(std::monostate(), nullptr);
      });
    });
    if (!queued) throw base::Overloaded();
    outcome_ = run->outcome;
    run_ = run;
  }

  boost::asio::awaitable<void> wait() {
    const auto run = busy() ? run_.lock() : nullptr;
    if (!run) co_return;
    auto begin = [run](auto complete) { run->finished = complete; };
    co_await base::called_back<void>(std::move(begin));
  }

  /// Throws what the last work threw, once it has.
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
  base::BlockingPool& pool_;
  const boost::asio::any_io_executor executor_;
  std::shared_ptr<Outcome> outcome_;
  std::weak_ptr<Run> run_;
};

}  // namespace finetuned::gateway
