#pragma once

#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

#include "base/offload.h"
#include "storage/objects/object_store.h"

namespace finetuned::gateway {

/// The store did not answer in time, or no thread is left that could ask it. The log tells of the store, once, not of each of these.
struct Unanswered : objects::StorageUnavailable {
  Unanswered() : StorageUnavailable("the object store hangs") {}
};

/// The threads that call the object store for requests. Nothing else calls it, so that where it hangs (a disk that is gone, an NFS
/// server), these threads are all that waits for it. Who waits for work here waits for a thread, and for each call on the
/// store, for as long as Patience says at most. Then the work is given up: it is taken from the queue, or it goes on alone, owns what it uses, and
/// leaves nothing behind once its call returns. So there are never more calls given up than threads.
class ObjectCalls {
 public:
  struct Patience {
    std::chrono::milliseconds for_a_thread;
    std::chrono::milliseconds for_a_call;  ///< longer where its Span says so
  };
  ObjectCalls(std::size_t threads, std::size_t most_queued, Patience patience);
  /// As close().
  ~ObjectCalls();
  ObjectCalls(const ObjectCalls&) = delete;
  ObjectCalls& operator=(const ObjectCalls&) = delete;

  /// Runs what is queued and joins the threads; a store that hangs holds this up. What is begun afterwards is refused.
  void close();

  /// Runs `work` on one of the threads and calls `complete(value, error)` once: there, or, with Unanswered, on another
  /// thread where the work is given up; at once where the queue is full or all threads are given up. `work` owns what it uses.
  template <class Work, class Complete>
  void begin(Work work, Complete complete) {
    submit(queued(std::move(work), std::move(complete)), Refusal::kAllowed);
  }

  /// Gives `thing` up on one of the threads, sooner or later, so that it is not destroyed elsewhere; `complete` as above.
  template <class Complete>
  void destroy(std::shared_ptr<void> thing, Complete complete) {
    auto work = [dropped = std::move(thing)]() mutable { dropped.reset(); };
    submit(queued(std::move(work), std::move(complete)), Refusal::kOfTheWaiting);
  }

  /// Runs `work`, which does not throw, on one of the threads, sooner or later; nobody waits for it.
  template <class Work>
  void see_to(Work work) {
    submit(queued(std::move(work), [](std::optional<std::monostate>, const std::exception_ptr&) {}), Refusal::kOfTheWaiting);
  }

  struct Counts {
    std::size_t busy = 0;      ///< threads at work, those of calls given up included
    std::size_t given_up = 0;  ///< calls that nobody waits for any more and that have not returned
  };
  Counts counts() const;
  /// Whether no thread is left: what is begun now is refused.
  bool all_hang() const;

  /// Whether this is one of the threads, of any of these.
  static bool here();

  /// A call on the store, from its construction to end(), on one of the threads; elsewhere it aborts. In it, and nowhere
  /// else, running work is given up.
  class Span {
   public:
    /// `longer`: how much longer than other calls it may take.
    explicit Span(const char* what, std::chrono::milliseconds longer = {});
    ~Span() { end(); }
    Span(const Span&) = delete;
    Span& operator=(const Span&) = delete;
    /// False where the work has been given up.
    bool end();

   private:
    bool open_ = true;
  };

 private:
  struct Queued {
    std::function<void()> run;
    std::function<void(std::exception_ptr)> give_up;  ///< tells who waits; empty once it has
    std::chrono::steady_clock::time_point since = {};
    bool stays = false;  ///< in the queue, also when it is given up
  };
  enum class Refusal { kAllowed, kOfTheWaiting };

  template <class Work, class Complete>
  static Queued queued(Work work, Complete complete) {
    using Result = std::invoke_result_t<Work&>;
    using Stored = std::conditional_t<std::is_void_v<Result>, std::monostate, Result>;
    auto shared_work = std::make_shared<Work>(std::move(work));
    auto run = [shared_work = std::move(shared_work), complete]() mutable {
      std::optional<Stored> value;
      std::exception_ptr error;
      try {
        if constexpr (std::is_void_v<Result>) {
          (*shared_work)();
          value.emplace();
        } else {
          value.emplace((*shared_work)());
        }
      } catch (...) {
        error = std::current_exception();
      }
      shared_work.reset();  // first, so that who waits has what it used to itself
      if (!told()) complete(std::move(value), error);
    };
    auto give_up = [complete](const std::exception_ptr& error) mutable { complete(std::nullopt, error); };
    return {.run = std::move(run), .give_up = std::move(give_up)};
  }

  /// Whether who waited for the work that this thread runs has been told that it was given up.
  static bool told();
  void submit(Queued queued, Refusal refusal);

  struct Slot;
  struct State;
  std::unique_ptr<State> state_;
};

/// base::offload, on these threads: resumes with Unanswered, too. `work` owns what it uses, since it may outlive the coroutine.
template <class Work>
auto offload(ObjectCalls& calls, Work work) -> boost::asio::awaitable<std::invoke_result_t<Work&>> {
  auto begin = [&calls, work = std::move(work)](auto complete) mutable { calls.begin(std::move(work), std::move(complete)); };
  return base::called_back<std::invoke_result_t<Work&>>(std::move(begin));
}

}  // namespace finetuned::gateway
