#include "services/worker/job_link.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <ctime>
#include <deque>
#include <mutex>
#include <thread>

#include "base/ids.h"
#include "base/log.h"
#include "base/stop.h"
#include "storage/postgres/errors.h"

namespace finetuned::worker {

namespace {

using Clock = std::chrono::steady_clock;
using postgres::Scope;
using postgres::Transaction;
using storage::JobLeases;
using storage::NewEvent;

constexpr std::chrono::milliseconds kRetryPause{500};
constexpr std::size_t kLargestBatch = 1'000;
constexpr char kRefused[] = "the database refused a write: the lease has passed on";

}  // namespace

struct JobLink::State {
  postgres::Pool& pool;
  storage::JobLease lease;
  std::optional<std::string> stretch;
  Scope scope;  ///< what a donated worker does earns points of another project than the job's
  LinkOptions options;

  std::atomic<bool> lease_lost{false};
  std::atomic<bool> cancelled{false};
  std::atomic<bool> paused{false};
  std::atomic<bool> preempted{false};
  std::atomic<Clock::duration> lease_end;  ///< on this machine's monotonic clock

  std::mutex mutex;
  std::condition_variable_any changed;
  std::deque<NewEvent> pending;         ///< guarded by mutex, as all below
  std::optional<Progress> progress;
  bool progress_is_new = false;         ///< not committed yet
  std::optional<storage::RunLayout> layout;
  std::uint64_t posted = 0;
  std::uint64_t committed = 0;
  bool flush_now = false;
  Clock::time_point oldest_pending{};

  std::jthread thread;

  State(postgres::Pool& the_pool, const storage::ClaimedJob& claimed, Clock::time_point claimed_at, LinkOptions chosen)
      : pool(the_pool), lease(claimed.lease), stretch(claimed.stretch),
        scope(stretch ? Scope::system() : Scope::project(claimed.job.project_id)), options(chosen),
        lease_end(end_after(claimed_at)) {}

  Clock::duration end_after(Clock::time_point asked) const {
    return asked.time_since_epoch() + std::chrono::seconds(options.lease_seconds);
  }

  bool waits() const { return !pending.empty() || progress_is_new; }

  bool lost() {
    if (!lease_lost && Clock::now().time_since_epoch() >= lease_end.load()) lose("its lease is over by this machine's clock");
    return lease_lost;
  }

  void lose(const char* why) {
    if (!lease_lost.exchange(true))
      base::log_warn("nothing more is written for a job", {{"job", lease.job_id}, {"epoch", lease.epoch}, {"why", why}});
    const std::lock_guard lock(mutex);
    changed.notify_all();
  }

  void run(const std::stop_token& stop);
  void take(const JobLeases::Beat& beat, std::optional<Clock::time_point> renewed_at);
  void renew();
  void peek();
  void commit_batch();
};

void JobLink::State::take(const JobLeases::Beat& beat, std::optional<Clock::time_point> renewed_at) {
  if (!beat.held) return lose(kRefused);
  if (beat.cancel_requested) cancelled = true;
  paused = beat.pause_requested;
  preempted = beat.preempt_requested;
  if (renewed_at) lease_end = end_after(*renewed_at);
}

void JobLink::State::renew() {
  const auto asked = Clock::now();
  take(pool.transact(scope, [&](Transaction& tx) { return JobLeases(tx).heartbeat(lease, options.lease_seconds); }),
       asked);
}

void JobLink::State::peek() {
  take(pool.transact(scope, [&](Transaction& tx) { return JobLeases(tx).peek(lease); }), std::nullopt);
}

/// Where it throws, the batch may have been committed all the same; it goes out again, under the same ids.
void JobLink::State::commit_batch() {
  std::vector<NewEvent> batch;
  std::optional<Progress> at;
  {
    const std::lock_guard lock(mutex);
    const std::size_t count = std::min(pending.size(), kLargestBatch);
    batch.assign(pending.begin(), pending.begin() + static_cast<std::ptrdiff_t>(count));
    at = progress;
    if (!waits()) return;
    progress_is_new = false;
  }
  const bool held = pool.transact(scope, [&](Transaction& tx) {
    JobLeases leases(tx);
    if (!leases.append_events(lease, batch)) return false;
    if (!at) return true;
    std::optional<std::int64_t> finish;
    if (at->left) finish = std::time(nullptr) + static_cast<std::int64_t>(at->left->count() + 0.5);
    return leases.set_progress(lease, at->step, at->total_steps, at->trained_tokens, finish);
  });
  if (!held) return lose(kRefused);
  const std::lock_guard lock(mutex);
  pending.erase(pending.begin(), pending.begin() + static_cast<std::ptrdiff_t>(batch.size()));
  committed += batch.size();
  oldest_pending = Clock::now();
  changed.notify_all();
}

void JobLink::State::run(const std::stop_token& stop) {
  auto next_renewal = Clock::now() + options.heartbeat;
  auto next_peek = Clock::now();
  while (!stop.stop_requested() && !lost()) {
    try {
      if (Clock::now() >= next_renewal) {
        renew();
        next_renewal = Clock::now() + options.heartbeat;
        next_peek = Clock::now() + options.peek;
      } else if (Clock::now() >= next_peek) {
        peek();
        next_peek = Clock::now() + options.peek;
      }
      bool due = false;
      {
        std::unique_lock lock(mutex);
        const auto first_flush = waits() ? oldest_pending + options.flush : Clock::now() + options.flush;
        const auto wake_at = std::min({next_renewal, next_peek, first_flush, Clock::time_point(lease_end.load())});
        changed.wait_until(lock, stop, wake_at, [&] {
          return (flush_now && !pending.empty()) || lease_lost || pending.size() >= kLargestBatch;
        });
        due = waits() &&
              (flush_now || pending.size() >= kLargestBatch || Clock::now() >= oldest_pending + options.flush);
      }
      if (due) commit_batch();
    } catch (const postgres::SqlError& error) {
      base::log_error("the database refused a job's events", {{"job", lease.job_id}, {"why", error.what()}});
      lose("the database refused its events");
    } catch (const std::exception& error) {
      base::log_warn("the database did not take a job's heartbeat or events; trying again",
                     {{"job", lease.job_id}, {"why", error.what()}});
      base::sleep_unless_stopped(stop, kRetryPause);
    }
  }
}

JobLink::JobLink(postgres::Pool& pool, const storage::ClaimedJob& claimed, Clock::time_point claimed_at,
                 LinkOptions options)
    : state_(std::make_unique<State>(pool, claimed, claimed_at, options)) {
  state_->thread = std::jthread([state = state_.get()](const std::stop_token& stop) { state->run(stop); });
}

JobLink::~JobLink() {
  state_->thread.request_stop();
  state_->thread.join();
}

bool JobLink::lost() const { return state_->lost(); }
bool JobLink::cancel_requested() const { return state_->cancelled; }
bool JobLink::pause_requested() const { return state_->paused; }
bool JobLink::preempt_requested() const { return state_->preempted; }
const storage::JobLease& JobLink::lease() const { return state_->lease; }
const std::optional<std::string>& JobLink::stretch() const { return state_->stretch; }

void JobLink::set_layout(const storage::RunLayout& layout) {
  const std::lock_guard lock(state_->mutex);
  state_->layout = layout;
}

void JobLink::tell(Transaction& tx, const storage::Evidence& said) const {
  if (!state_->stretch) return;
  std::optional<storage::RunLayout> layout;
  {
    const std::lock_guard lock(state_->mutex);
    layout = state_->layout;
  }
  storage::DonationEvidence evidence(tx);
  if (layout) evidence.set_layout(*state_->stretch, *layout);
  evidence.add(*state_->stretch, said);
}

void JobLink::post(NewEvent event) {
  std::unique_lock lock(state_->mutex);
  state_->changed.wait(lock,
                       [&] { return state_->lease_lost || state_->pending.size() < state_->options.most_pending; });
  if (!state_->waits()) state_->oldest_pending = Clock::now();
  event.id = base::make_id("ftevent");
  state_->pending.push_back(std::move(event));
  ++state_->posted;
  if (state_->pending.size() == kLargestBatch) state_->changed.notify_all();
}

void JobLink::post(NewEvent event, const Progress& progress) {
  report(progress);
  post(std::move(event));
}

void JobLink::report(const Progress& progress) {
  const std::lock_guard lock(state_->mutex);
  if (!state_->waits()) state_->oldest_pending = Clock::now();
  state_->progress = progress;
  state_->progress_is_new = true;
}

void JobLink::flush() {
  std::unique_lock lock(state_->mutex);
  const std::uint64_t target = state_->posted;
  state_->flush_now = true;
  state_->changed.notify_all();
  state_->changed.wait(lock, [&] { return state_->lease_lost || state_->committed >= target; });
  state_->flush_now = false;
  if (state_->lease_lost) throw LeaseLost(state_->lease.job_id);
}

void JobLink::write(const std::function<bool(Transaction&)>& work, const std::function<bool(Transaction&)>& committed) {
  bool outcome_unknown = false;
  while (!lost()) {
    try {
      if (outcome_unknown && state_->pool.transact(state_->scope, committed)) return;
      outcome_unknown = false;
      if (state_->pool.transact(state_->scope, work)) return;
      state_->lose(kRefused);
    } catch (const postgres::CommitOutcomeUnknown&) {
      outcome_unknown = true;
    } catch (const postgres::DatabaseUnavailable& error) {
      base::log_warn("the database is away; trying again", {{"job", state_->lease.job_id}, {"why", error.what()}});
    }
    if (!lost()) std::this_thread::sleep_for(kRetryPause);
  }
  throw LeaseLost(state_->lease.job_id);
}

}  // namespace finetuned::worker
