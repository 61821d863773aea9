#include "services/intake/intake.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "base/errors.h"
#include "base/log.h"
#include "services/intake/object_stream.h"
#include "storage/model_store.h"

namespace finetuned::intake {

namespace {

using postgres::Scope;
using postgres::Transaction;
using storage::FileStatus;
using storage::IntakeClaim;
using storage::IntakeStore;
using storage::TokenCounts;

constexpr std::chrono::milliseconds kSweepPause{1'000};
constexpr std::size_t kMostEncoders = 32;
constexpr std::int64_t kStorageRetrySeconds = 10;

/// Keeps the lease while rows go by; false once it is lost or the process shall stop.
class LeaseKeeper {
 public:
  LeaseKeeper(postgres::Pool& pool, const IntakeClaim& claim, std::int64_t lease_seconds, const std::stop_token& stop)
      : pool_(pool), claim_(claim), lease_seconds_(lease_seconds), stop_(stop), extended_(Clock::now()) {}

  bool keep() {
    if (stop_.stop_requested() || lost_) return false;
    if (Clock::now() - extended_ < std::chrono::seconds(lease_seconds_) / 4) return true;
    const auto asked = Clock::now();
    lost_ = !pool_.transact(Scope::project(claim_.file.project_id), [&](Transaction& tx) {
      return IntakeStore(tx).extend(claim_.lease, lease_seconds_);
    });
    extended_ = asked;
    return !lost_;
  }

 private:
  using Clock = std::chrono::steady_clock;
  postgres::Pool& pool_;
  const IntakeClaim& claim_;
  std::int64_t lease_seconds_;
  const std::stop_token& stop_;
  Clock::time_point extended_;
  bool lost_ = false;
};

TokenCounts refused_counts(const std::string& file_id, const std::string& fingerprint, const std::string& code,
                           const std::string& message) {
  TokenCounts counts;
  counts.file_id = file_id;
  counts.tokenizer_fingerprint = fingerprint;
  counts.error_code = code;
  counts.error_message = message;
  return counts;
}

TokenCounts stored_counts(const std::string& file_id, const TokenCount& count, std::int64_t rows) {
  if (count.refused) {
    const base::json::object error = token_report(count).at("error").as_object();
    std::string message = "line " + std::to_string(count.refused->line) + ": ";
    if (!count.refused->field.empty()) message += std::string(error.at("field").as_string()) + ": ";
    message += std::string(error.at("message").as_string());
    return refused_counts(file_id, count.fingerprint, count.refused->code, message);
  }
  TokenCounts counts;
  counts.file_id = file_id;
  counts.tokenizer_fingerprint = count.fingerprint;
  counts.rows = rows;
  counts.tokens = count.tokens;
  counts.supervised_tokens = count.supervised_tokens;
  counts.longest_tokens = count.longest_tokens;
  counts.longest_line = count.longest_line;
  counts.row_tokens = count.row_tokens;
  return counts;
}

}  // namespace

struct Intake::Waker {
  std::mutex mutex;
  std::condition_variable_any changed;
  bool awake = false;
};

Intake::Intake(postgres::Pool& pool, objects::ObjectStore& store, IntakeOptions options)
    : pool_(pool), store_(store), options_(std::move(options)), waker_(std::make_unique<Waker>()) {}

Intake::~Intake() = default;

void Intake::wake() {
  const std::lock_guard lock(waker_->mutex);
  waker_->awake = true;
  waker_->changed.notify_all();
}

void Intake::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    try {
      if (check_one(stop)) continue;
    } catch (const std::exception& error) {
      base::log_error("a dataset could not be checked; trying again", {{"why", error.what()}});
    }
    std::unique_lock lock(waker_->mutex);
    waker_->changed.wait_for(lock, stop, kSweepPause, [this] { return waker_->awake; });
    waker_->awake = false;
  }
}

bool Intake::check_one(const std::stop_token& stop) {
  const auto claim = pool_.transact(Scope::system(), [&](Transaction& tx) {
    return IntakeStore(tx).claim(options_.owner, options_.lease_seconds);
  });
  if (!claim) return false;
  if (claim->attempts > options_.most_attempts) {
    give_up(*claim);
    return true;
  }
  try {
    check(*claim, stop);
  } catch (const objects::StorageFault& fault) {  // of no fault of the file's
    base::log_error("the storage failed a dataset's check; trying again", {{"file", claim->file.id}, {"why", fault.detail}});
    pool_.transact(Scope::project(claim->file.project_id),
                   [&](Transaction& tx) { IntakeStore(tx).postpone(claim->lease, kStorageRetrySeconds); });
  }
  return true;
}

std::vector<Counter> Intake::counters_for(const IntakeClaim& claim, std::vector<TokenCounts>& refused) {
  const auto models =
      pool_.transact(Scope::system(), [](Transaction& tx) { return storage::ModelStore(tx).list_base(); });
  if (encoders_.size() > kMostEncoders) encoders_.clear();
  std::vector<Counter> counters;
  for (const std::string& fingerprint : claim.missing_fingerprints) {
    Counter counter{.fingerprint = fingerprint, .models = {}, .encoder = nullptr};
    std::string directory;
    for (const storage::BaseModel& model : models) {
      if (model.tokenizer_fingerprint != fingerprint) continue;
      counter.models.push_back(model.name);
      directory = model.directory;
    }
    if (directory.empty()) continue;
    auto& encoder = encoders_[fingerprint];
    try {
      if (!encoder) encoder = std::make_shared<const text::RowEncoder>(directory);
      if (encoder->tokenizer().fingerprint() != fingerprint)
        throw base::FormatError(directory, "tokenizer", "reads rows differently than when it was imported: import the model again");
      counter.encoder = encoder;
      counters.push_back(std::move(counter));
    } catch (const base::FormatError& error) {
      base::log_error("a registered tokenizer cannot be used", {{"model", counter.models.front()}, {"why", error.what()}});
      encoders_.erase(fingerprint);
      refused.push_back(refused_counts(claim.file.id, fingerprint, "tokenizer_unusable",
                                       "the tokenizer of " + counter.models.front() + " cannot be used: tell the operator"));
    }
  }
  return counters;
}

void Intake::check(const IntakeClaim& claim, const std::stop_token& stop) {
  std::vector<TokenCounts> counts;
  const std::vector<Counter> counters = counters_for(claim, counts);
  ObjectStream dataset(store_, claim.file.object_id);
  LeaseKeeper keeper(pool_, claim, options_.lease_seconds, stop);
  const text::DatasetLimits limits{.line_bytes = options_.row_bytes, .kept_faults = options_.kept_faults};
  const auto started = std::chrono::steady_clock::now();
  const auto reading = read_dataset(dataset, counters, limits, [&] { return keeper.keep(); });
  if (!reading) {
    pool_.transact(Scope::project(claim.file.project_id),
                   [&](Transaction& tx) { IntakeStore(tx).release(claim.lease); });
    base::log_info("a dataset was let go", {{"file", claim.file.id}});
    return;
  }
  if (reading->ok())
    for (const TokenCount& count : reading->counts) counts.push_back(stored_counts(claim.file.id, count, reading->rows));
  store(claim, counts, *reading);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - started;
  base::log_info("a dataset was checked", {{"file", claim.file.id},
                                           {"rows", reading->rows},
                                           {"faults", reading->faults.count()},
                                           {"tokenizers", static_cast<std::int64_t>(counters.size())},
                                           {"seconds", took.count()}});
}

void Intake::store(const IntakeClaim& claim, const std::vector<TokenCounts>& counts, const Reading& reading) {
  const bool held = pool_.transact(Scope::project(claim.file.project_id), [&](Transaction& tx) {
    IntakeStore intake(tx);
    for (const TokenCounts& one : counts)
      if (!intake.put_counts(claim.lease, one)) return false;
    if (claim.file.status != FileStatus::kUploaded) return intake.release(claim.lease);
    const std::string details = status_details_of(reading);
    return intake.finish(claim.lease, reading.ok() ? FileStatus::kProcessed : FileStatus::kError,
                         details.empty() ? std::nullopt : std::optional(details), report_of(reading));
  });
  if (!held) base::log_warn("a dataset's lease was lost before its report was stored", {{"file", claim.file.id}});
}

/// The file took `most_attempts` readers down, or the disk refused it as often: its owner learns so.
void Intake::give_up(const IntakeClaim& claim) {
  base::log_error("a dataset is given up", {{"file", claim.file.id}, {"attempts", claim.attempts}});
  const std::string message = "the file could not be checked, by a fault of the platform: upload it again";
  std::vector<TokenCounts> counts;
  for (const std::string& fingerprint : claim.missing_fingerprints)
    counts.push_back(refused_counts(claim.file.id, fingerprint, "internal_error", message));
  Reading reading;
  reading.faults.add({.line = 0, .field = "", .code = "internal_error", .message = message});
  store(claim, counts, reading);
}

}  // namespace finetuned::intake
