#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "services/worker/job_link.h"
#include "storage/file_store.h"
#include "storage/job.h"
#include "storage/model_store.h"
#include "storage/objects/object_store.h"
#include "storage/storage_pauses.h"
#include "trainer/training/run.h"

namespace finetuned::worker {

/// Stores what the run made as objects and ends the job in one fenced transaction: the four result files
/// (adapter_model.safetensors, adapter_config.json, step_metrics.csv, manifest.json), the model, the last event, state
/// `succeeded`, usage and its charge, the rest of the hold given back. `tokens_after`: as JobObserver counted them. Throws
/// LeaseLost, having left no object behind.
void publish_success(JobLink& link, objects::ObjectStore& store, const storage::Job& job, const std::string& model_name,
                     const training::RunResult& result, std::span<const std::int64_t> tokens_after);

/// Ends the job as cancelled: it pays for its last committed checkpoint. Throws LeaseLost.
void publish_cancelled(JobLink& link, const storage::Job& job);

/// Ends the job as failed. Throws LeaseLost.
void publish_failure(JobLink& link, const storage::Job& job, const storage::JobError& error);

/// Keeps the state that a run wrote on its way: where this worker dies, the job goes on from there. What goes wrong (a full
/// disk) is logged, the state before staying. For another thread than the run's. Throws LeaseLost.
void publish_state(JobLink& link, objects::ObjectStore& store, const std::string& project_id,
                   const training::StateWritten& written);

enum class StopCause { kAsked, kShutDown, kPreempted };  ///< by its owner; with the worker; for another project

/// Ends this worker's part in a job whose run was stopped: paused or cancelled where its owner asked for that, else back in
/// the queue. Tells which. The job goes on from what the run left in `state_file`; where
/// that cannot be kept (a full disk), from what it had before, and an event says so. Throws LeaseLost.
storage::JobState publish_stop(JobLink& link, objects::ObjectStore& store, const storage::Job& job,
                               const training::RunResult& result, const std::filesystem::path& state_file, StopCause cause);

/// Ends this worker's part in a job that the storage failed: paused until that works again (storage_pauses.h), cancelled or
/// paused where its owner asked for that, or failed, where the rule's patience is over. Tells which. Throws LeaseLost.
storage::JobState publish_storage_pause(JobLink& link, const storage::Job& job, const storage::StorageRule& rule);

}  // namespace finetuned::worker
