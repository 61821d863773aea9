#pragma once

#include <boost/asio/associated_executor.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/prefer.hpp>
#include <boost/asio/execution/outstanding_work.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace finetuned::base {

/// Thrown by offload() when the pool's queue is full: the caller answers 503, nothing was started.
struct Overloaded : std::exception {
  const char* what() const noexcept override { return "too much blocking work is queued; try again shortly"; }
};

/// A bounded pool of threads for blocking work (libpqxx, hiredis, hashing, files). Joined by its destructor, which
/// first runs what is queued.
class BlockingPool {
 public:
  BlockingPool(std::size_t threads, std::size_t most_queued);
  ~BlockingPool();
  BlockingPool(const BlockingPool&) = delete;
  BlockingPool& operator=(const BlockingPool&) = delete;

  /// Queues `work`, which must not throw. False when the queue is full or the pool is closing.
  bool try_submit(std::function<void()> work);
  std::size_t threads() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Calls `begin(complete)` at once, and resumes the awaiting coroutine on its own executor with what is handed, once and
/// from any thread, to `complete(value, error)`: a std::optional of the result, or an exception to throw. What `begin`
/// itself throws is thrown here. Not cancellable: `begin` sees to it that `complete` is called within a bounded time.
template <class Result, class Begin>
auto called_back(Begin begin) -> boost::asio::awaitable<Result> {
  namespace asio = boost::asio;
  using Stored = std::conditional_t<std::is_void_v<Result>, std::monostate, Result>;
  struct Outcome {
    std::optional<Stored> value;
    std::exception_ptr error;
  };
  auto outcome = std::make_shared<Outcome>();
  auto initiate = [&begin, outcome](auto handler) {
    auto executor = asio::prefer(asio::get_associated_executor(handler), asio::execution::outstanding_work.tracked);
    auto shared_handler = std::make_shared<decltype(handler)>(std::move(handler));
    auto complete = [executor, shared_handler, outcome](std::optional<Stored> value, std::exception_ptr error) {
      outcome->value = std::move(value);
      outcome->error = std::move(error);
      asio::post(executor, [shared_handler] { (*shared_handler)(); });
    };
    try {
      begin(complete);
    } catch (...) {
      complete(std::nullopt, std::current_exception());
    }
  };
  co_await asio::async_initiate<decltype(asio::use_awaitable), void()>(std::move(initiate), asio::use_awaitable);
  if (outcome->error) std::rethrow_exception(outcome->error);
  if constexpr (!std::is_void_v<Result>) co_return std::move(*outcome->value);
}

/// Runs `work` on `pool` and resumes the awaiting coroutine on its own executor with the result, or with what `work`
/// threw. Not cancellable: bound the work itself (statement_timeout, socket timeouts). `work` is moved to the pool's
/// thread: it must own what it uses, or use what outlives the coroutine.
///
///     auto read = [&stores, id] { return stores.files.find(id); };
///     auto file = co_await base::offload(pool, std::move(read));
template <class Work>
auto offload(BlockingPool& pool, Work work) -> boost::asio::awaitable<std::invoke_result_t<Work&>> {
  using Result = std::invoke_result_t<Work&>;
  auto shared_work = std::make_shared<Work>(std::move(work));
  auto begin = [&pool, shared_work](auto complete) {
    const bool queued = pool.try_submit([shared_work, complete] {
      try {
        if constexpr (std::is_void_v<Result>) {
          (*shared_work)();
          complete(std::optional<std::monostate>(std::in_place), nullptr);
        } else {
          complete(std::optional<Result>(std::in_place, (*shared_work)()), nullptr);
        }
      } catch (...) {
        complete(std::nullopt, std::current_exception());
      }
    });
    if (!queued) throw Overloaded();
  };
  return called_back<Result>(std::move(begin));
}

}  // namespace finetuned::base
