#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/model_store.h"

namespace finetuned::storage {

enum class JobState { kValidatingFiles, kQueued, kRunning, kPaused, kSucceeded, kFailed, kCancelled };
std::string to_string(JobState state);  ///< OpenAI's status words
bool is_terminal(JobState state);       ///< succeeded, failed, cancelled

/// What a job is paid with (billing/points_payment.h).
enum class Payment { kUsd, kPoints, kPointsThenUsd };
std::string to_string(Payment payment);                        ///< `usd`, `points`, `points_then_usd`
std::optional<Payment> payment_named(const std::string& name);  ///< empty for another name

struct JobError {
  std::string code;
  std::string message;
  std::optional<std::string> param;
};

/// What a job is made from; every `auto` resolved by the caller. Ids and names are checked by the caller.
struct NewJob {
  std::string id;  ///< base::make_id("ftjob")
  std::string project_id;
  std::string organization_id;
  std::string model;       ///< as asked for: a base model's name or an own `ft:...`
  std::string base_model;  ///< registered base under it
  std::string training_file;
  std::optional<std::string> validation_file;
  boost::json::value hyperparameters;  ///< object: n_epochs, batch_size, learning_rate_multiplier, resolved
  boost::json::value method;           ///< {"type":"supervised","supervised":{"hyperparameters":{...}}}
  boost::json::value metadata;         ///< object or null
  boost::json::value integrations;     ///< array or null
  std::int64_t seed = 0;
  std::optional<std::string> suffix;
  int priority = 0;  ///< -10..10: among its project's own jobs (fair_share.h)
  Payment payment = Payment::kUsd;
};

/// What a stopped run left to go on from: an object of the store, of after so many steps.
struct SavedState {
  std::string object_id;
  std::int64_t step = 0;
  std::int64_t trained_tokens = 0;
};

/// Of a job that is paused because the storage failed it (storage_pauses.h).
struct StoragePause {
  std::int64_t since = 0;     ///< when it first did, since the run last got further
  std::int64_t retry_at = 0;  ///< not tried again before this
};

/// A row of `job`.
struct Job : NewJob {
  JobState state = JobState::kQueued;
  std::int64_t created_at = 0;
  std::optional<std::int64_t> started_at;
  std::optional<std::int64_t> finished_at;
  std::optional<std::int64_t> estimated_finish;
  std::optional<std::string> fine_tuned_model;
  std::vector<std::string> result_files;
  std::optional<std::int64_t> trained_tokens;
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  std::optional<JobError> error;
  bool cancel_requested = false;
  bool pause_requested = false;
  std::optional<StoragePause> storage_pause;
  std::optional<SavedState> saved;
  std::optional<std::string> worker;
  std::int64_t lease_epoch = 0;
  int attempts = 0;  ///< crashes since a state was saved that is further than those before
  std::optional<std::int64_t> price_version;
  std::optional<std::int64_t> quoted_tokens;
  std::optional<std::int64_t> quoted_nano;
  std::optional<std::string> hold_transfer_id;  ///< of dollars; empty where nothing had to be held
  std::optional<std::string> points_hold_id, liquidity_hold_id;  ///< both or none: of points, and of what they stand for
  bool settled = false;
};

enum class EventLevel { kInfo, kWarn, kError };
std::string to_string(EventLevel level);

struct NewEvent {
  EventLevel level = EventLevel::kInfo;
  std::string message;
  boost::json::value data;  ///< metrics' data object; null for messages
  bool is_metrics = false;  ///< type `metrics`, else `message`
  std::string id = {};      ///< `ftevent-...`; one is made where it is empty. An event that is added again under its id is kept once
};

struct Event : NewEvent {
  std::int64_t seq = 0;  ///< grows with each commit of the job's events
  std::string job_id;
  std::int64_t created_at = 0;
};

/// An adapter at a step, with what is needed to list, download and bill it.
struct NewCheckpoint {
  std::int64_t step = 0;
  std::int64_t trained_tokens = 0;  ///< cumulative: what a cancelled job pays for
  std::string model_name;           ///< fine_tuned_model_checkpoint: `ft:BASE:ORG:SUFFIX:ID:ckpt-step-N`
  boost::json::value metrics;       ///< object: step, train_loss, ...
  ObjectsByName objects;
  ObjectsByName sha256 = {};  ///< of the objects, by the same names
};

struct Checkpoint : NewCheckpoint {
  std::string id;  ///< `ftckpt-...`
  std::string job_id;
  std::int64_t created_at = 0;
};

}  // namespace finetuned::storage
