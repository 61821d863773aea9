#include "services/gateway/object_calls.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/expects.h"
#include "base/log.h"

namespace finetuned::gateway {

namespace {

using Steady = std::chrono::steady_clock;

std::int64_t milliseconds_since(Steady::time_point begin) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(Steady::now() - begin).count();
}

}  // namespace

/// A thread and what it is at. Under the state's mutex, but for the identity.
struct ObjectCalls::Slot {
  State* state = nullptr;
  std::thread thread;
  std::function<void(std::exception_ptr)> give_up;  // tells who waits for the work
  const char* call = nullptr;                       // on the store, while it is in one
  Steady::time_point until;                         // ... and when it has taken too long
  Steady::time_point since;                         // ... and when it began
  bool given_up = false;                            // the work; counted
  bool told = false;                                // who waited for it
  static thread_local Slot* mine;
};

thread_local ObjectCalls::Slot* ObjectCalls::Slot::mine = nullptr;

struct ObjectCalls::State {
  mutable std::mutex mutex;
  std::condition_variable wake, watcher_wakes;
  std::deque<Queued> queue;
  std::vector<std::unique_ptr<Slot>> slots;
  std::thread watcher;
  std::size_t most_queued = 0;
  Patience patience{};
  std::size_t busy = 0;
  std::size_t given_up = 0;
  Steady::time_point hung_since;
  bool closing = false, joined = false;

  bool all_given_up() const { return given_up == slots.size(); }
  void work(Slot& slot);
  void watch();
  struct Overdue;
  Overdue take_overdue();
};

/// What is given up at once, to be told outside of the lock.
struct ObjectCalls::State::Overdue {
  std::deque<Queued> waiting;
  std::vector<std::function<void(std::exception_ptr)>> running;
  const char* hangs = nullptr;  ///< the call with which the store begins to hang
  Steady::time_point since;     ///< ... and its beginning
  Steady::time_point next;      ///< nothing else is overdue before
};

ObjectCalls::ObjectCalls(std::size_t threads, std::size_t most_queued, Patience patience)
    : state_(std::make_unique<State>()) {
  base::expects(threads > 0 && most_queued > 0, "a pool has threads and room for work");
  state_->most_queued = most_queued;
  state_->patience = patience;
  for (std::size_t i = 0; i < threads; ++i) state_->slots.push_back(std::make_unique<Slot>());
  for (const auto& slot : state_->slots) {
    slot->state = state_.get();
    slot->thread = std::thread([slot = slot.get()] { slot->state->work(*slot); });
  }
  state_->watcher = std::thread([state = state_.get()] { state->watch(); });
}

ObjectCalls::~ObjectCalls() { close(); }

void ObjectCalls::close() {
  {
    const std::lock_guard lock(state_->mutex);
    state_->closing = true;
  }
  state_->wake.notify_all();
  for (const auto& slot : state_->slots)
    if (slot->thread.joinable()) slot->thread.join();
  {
    const std::lock_guard lock(state_->mutex);
    state_->joined = true;
  }
  state_->watcher_wakes.notify_all();
  if (state_->watcher.joinable()) state_->watcher.join();
}

void ObjectCalls::submit(Queued queued, Refusal refusal) {
  queued.since = Steady::now();
  queued.stays = refusal == Refusal::kOfTheWaiting;
  std::function<void(std::exception_ptr)> refused;
  {
    const std::lock_guard lock(state_->mutex);
    const bool full = state_->closing || state_->all_given_up() || state_->queue.size() >= state_->most_queued;
    if (full) refused = std::exchange(queued.give_up, nullptr);
    if (!full || (queued.stays && !state_->joined)) state_->queue.push_back(std::move(queued));
  }
  state_->wake.notify_one();
  if (refused) refused(std::make_exception_ptr(Unanswered()));
}

ObjectCalls::Counts ObjectCalls::counts() const {
  const std::lock_guard lock(state_->mutex);
  return {state_->busy, state_->given_up};
}

bool ObjectCalls::all_hang() const {
  const std::lock_guard lock(state_->mutex);
  return state_->all_given_up();
}

void ObjectCalls::State::work(Slot& slot) {
  Slot::mine = &slot;
  std::unique_lock lock(mutex);
  for (;;) {
    wake.wait(lock, [this] { return closing || !queue.empty(); });
    if (queue.empty()) return;
    std::function<void()> run = std::move(queue.front().run);
    slot.give_up = std::move(queue.front().give_up);
    slot.told = !slot.give_up;
    queue.pop_front();
    ++busy;
    lock.unlock();
    run();
    run = nullptr;  // may destroy what calls the store once more
    lock.lock();
    --busy;
    auto untold = std::exchange(slot.give_up, nullptr);
    const bool answers_again = std::exchange(slot.given_up, false) && --given_up == 0;
    const auto hung = hung_since;
    lock.unlock();
    untold = nullptr;
    if (answers_again) base::log_info("the object store answers again", {{"hung_ms", milliseconds_since(hung)}});
    lock.lock();
  }
}

/// Nothing that begins meanwhile is overdue before `next`, so nobody has to wake who waits for that.
ObjectCalls::State::Overdue ObjectCalls::State::take_overdue() {
  const auto now = Steady::now();
  Overdue overdue;
  overdue.next = now + std::min(patience.for_a_thread, patience.for_a_call);
  const auto is_over = [&](Steady::time_point end) {
    if (end > now) overdue.next = std::min(overdue.next, end);
    return end <= now;
  };
  for (const auto& slot : slots) {
    if (!slot->call || slot->given_up || !is_over(slot->until)) continue;
    slot->given_up = slot->told = true;
    if (given_up++ == 0) {
      hung_since = overdue.since = slot->since;
      overdue.hangs = slot->call;
    }
    if (slot->give_up) overdue.running.push_back(std::exchange(slot->give_up, nullptr));
  }
  const bool in_vain = all_given_up();
  std::deque<Queued> kept;
  for (Queued& one : queue) {
    const bool over = one.give_up && (in_vain || is_over(one.since + patience.for_a_thread));
    if (over && one.stays) overdue.running.push_back(std::exchange(one.give_up, nullptr));
    std::deque<Queued>& place = over && !one.stays ? overdue.waiting : kept;
    place.push_back(std::move(one));
  }
  queue = std::move(kept);
  return overdue;
}

void ObjectCalls::State::watch() {
  std::unique_lock lock(mutex);
  while (!joined) {
    Overdue overdue = take_overdue();
    const std::size_t lost = given_up;
    lock.unlock();
    if (overdue.hangs)
      base::log_error("the object store hangs: what needs it is answered with 503 until it returns",
                      {{"call", overdue.hangs}, {"waited_ms", milliseconds_since(overdue.since)}, {"calls", static_cast<std::uint64_t>(lost)}});
    const auto error = std::make_exception_ptr(Unanswered());
    for (Queued& one : overdue.waiting) {
      one.run = nullptr;  // first, so that who waits is the last to hold what it uses
      one.give_up(error);
    }
    for (const auto& tell : overdue.running) tell(error);
    lock.lock();
    watcher_wakes.wait_until(lock, overdue.next, [this] { return joined; });
  }
}

bool ObjectCalls::here() { return Slot::mine != nullptr; }
bool ObjectCalls::told() { return Slot::mine->told; }

ObjectCalls::Span::Span(const char* what, std::chrono::milliseconds longer) {
  base::expects(here(), "the object store is called on its own threads");
  Slot& slot = *Slot::mine;
  const std::lock_guard lock(slot.state->mutex);
  slot.call = what;
  slot.since = Steady::now();
  slot.until = slot.since + slot.state->patience.for_a_call + longer;
}

bool ObjectCalls::Span::end() {
  Slot& slot = *Slot::mine;
  if (std::exchange(open_, false)) {
    const std::lock_guard lock(slot.state->mutex);
    slot.call = nullptr;
  }
  return !slot.given_up;
}

}  // namespace finetuned::gateway
