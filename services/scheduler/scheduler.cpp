#include "services/scheduler/scheduler.h"

#include <algorithm>
#include <functional>

#include "base/ids.h"
#include "base/log.h"
#include "base/stop.h"
#include "billing/admission.h"
#include "billing/settlement.h"
#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "storage/outbox_store.h"
#include "storage/worker_store.h"

namespace finetuned::scheduler {

namespace {

using postgres::Scope;
using postgres::Transaction;

constexpr int kMostRelayed = 200;
constexpr std::chrono::milliseconds kRelayPatience{1'000};  // with a slow Redis, well below kDutySeconds
constexpr int kMostAdmitted = 50;
constexpr int kMostSwept = 100;
constexpr int kMostRebuilt = 5'000;

/// Present while Redis remembers what it was told; a flushed or fresh Redis lacks it.
constexpr const char* kMarker = "finetuned:streams-complete";

enum class Duty : std::int64_t { kRelay = 0x66740001, kAdmission, kSweep, kPreemption };

constexpr std::string_view kTryLock =
    "SELECT set_config('idle_in_transaction_session_timeout', $2, true), pg_try_advisory_xact_lock($1) AS taken";

/// Whether this scheduler does the duty in this transaction; another does it when not.
bool leads(Transaction& tx, Duty duty) {
  const std::string patience = std::to_string(Scheduler::kDutySeconds) + "s";
  return tx.execute(kTryLock, {static_cast<std::int64_t>(duty), patience}).row(0).boolean("taken");
}

/// A duty and when it is due.
struct Timed {
  const char* name;
  std::chrono::milliseconds pause;
  std::function<void()> work;
  std::chrono::steady_clock::time_point due{};
};

}  // namespace

Scheduler::Scheduler(postgres::Pool& pool, redis::Client& redis, SchedulerOptions options)
    : pool_(pool), redis_(redis), options_(options) {}

void Scheduler::run(const std::stop_token& stop) {
  std::vector<Timed> duties{
      {"relay", options_.relay_pause, [this] { relay_outbox(); }},
      {"admission", options_.admission_pause, [this] { admit_waiting(); }},
      {"lease sweep", options_.sweep_pause, [this] { sweep_leases(); }},
      {"preemption", options_.sweep_pause, [this] { preempt(); }},
      {"stream rebuild", options_.sweep_pause, [this] { rebuild_streams(); }},
  };
  auto pause = std::chrono::milliseconds(0);
  while (base::sleep_unless_stopped(stop, pause)) {
    auto next = std::chrono::steady_clock::time_point::max();
    for (Timed& duty : duties) {
      if (duty.due <= std::chrono::steady_clock::now()) {
        try {
          duty.work();
          duty.due = std::chrono::steady_clock::now() + duty.pause;
        } catch (const std::exception& error) {
          base::log_error("a duty failed; trying again", {{"duty", duty.name}, {"why", error.what()}});
          duty.due = std::chrono::steady_clock::now() + std::max(duty.pause, std::chrono::milliseconds(1'000));
        }
      }
      next = std::min(next, duty.due);
    }
    pause = std::chrono::ceil<std::chrono::milliseconds>(next - std::chrono::steady_clock::now());
    pause = std::max(pause, std::chrono::milliseconds(0));
  }
}

void Scheduler::relay_outbox() {
  bool more = true;
  while (more) {
    more = pool_.transact(Scope::system(), [&](Transaction& tx) {
      if (!leads(tx, Duty::kRelay)) return false;
      storage::OutboxStore outbox(tx);
      std::vector<storage::OutboxMessage> messages = outbox.take(kMostRelayed);
      const bool full = messages.size() == static_cast<std::size_t>(kMostRelayed);
      const auto enough = std::chrono::steady_clock::now() + kRelayPatience;
      const auto refused = std::find_if(messages.begin(), messages.end(), [&](const storage::OutboxMessage& message) {
        return std::chrono::steady_clock::now() > enough || !redis_.add_to_stream(message.stream, message.payload);
      });
      const bool all = refused == messages.end();
      messages.erase(refused, messages.end());
      for (const auto& message : messages)
        base::log_debug("relayed", {{"stream", message.stream}, {message.stream == storage::kJobsStream ? "job" : "file", message.payload}});
      if (!messages.empty()) outbox.sent(messages);
      return full && all;
    });
  }
}

void Scheduler::admit_waiting() {
  const auto left = pool_.transact(Scope::system(), [](Transaction& tx) {
    return leads(tx, Duty::kAdmission) ? billing::admit_waiting_jobs(tx, kMostAdmitted) : std::vector<std::string>();
  });
  for (const std::string& job : left) base::log_info("a job's files are checked; it is queued, or refused", {{"job", job}});
}

void Scheduler::sweep_leases() {
  const auto swept = pool_.transact(Scope::system(), [&](Transaction& tx) {
    std::vector<storage::SweptJob> jobs;
    if (!leads(tx, Duty::kSweep)) return jobs;
    jobs = storage::JobLeases(tx).sweep(options_.most_attempts, kMostSwept);
    for (const storage::SweptJob& job : jobs)
      if (storage::is_terminal(job.state)) billing::settle_job(tx, job.id);
    storage::WorkerStore(tx).forget_dead();
    return jobs;
  });
  for (const storage::SweptJob& job : swept)
    base::log_warn("a job's worker went silent", {{"job", job.id}, {"now", storage::to_string(job.state)}});
}

void Scheduler::preempt() {
  if (options_.preemption.after_seconds == 0) return;
  const auto asked = pool_.transact(Scope::system(), [&](Transaction& tx) {
    return leads(tx, Duty::kPreemption) ? storage::request_preemptions(tx, options_.preemption) : std::vector<std::string>();
  });
  for (const std::string& job : asked) base::log_info("a job makes room for another project", {{"job", job}});
}

void Scheduler::rebuild_streams() {
  const auto marker = redis_.command({"EXISTS", kMarker});
  if (!marker || marker->kind != redis::Reply::Kind::kInteger || marker->integer == 1) return;
  const auto ids = pool_.transact(Scope::system(), [](Transaction& tx) {
    return storage::JobStore(tx).queued_ids(kMostRebuilt);
  });
  for (const std::string& id : ids)
    if (!redis_.add_to_stream(storage::kJobsStream, id)) return;
  redis_.command({"SET", kMarker, base::make_id("mark")});
  base::log_info("Redis was empty; its stream is filled again", {{"jobs", static_cast<std::int64_t>(ids.size())}});
}

}  // namespace finetuned::scheduler
