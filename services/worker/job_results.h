#pragma once

#include <string>
#include <vector>

#include "services/worker/job_link.h"
#include "storage/file_store.h"
#include "storage/job.h"
#include "storage/model_store.h"
#include "storage/objects/object_store.h"
#include "trainer/training/run.h"

namespace finetuned::worker {

/// Stores what the run made as objects and ends the job in one fenced transaction: the four result files
/// (adapter_model.safetensors, adapter_config.json, step_metrics.csv, manifest.json), the model, the last event, state
/// `succeeded`, usage and its charge, the rest of the hold given back. Throws LeaseLost, having left no object behind.
void publish_success(JobLink& link, objects::ObjectStore& store, const storage::Job& job,
                     const std::string& model_name, const training::RunResult& result);

/// Ends the job as cancelled: it pays for its last committed checkpoint. Throws LeaseLost.
void publish_cancelled(JobLink& link, const storage::Job& job);

/// Ends the job as failed. Throws LeaseLost.
void publish_failure(JobLink& link, const storage::Job& job, const storage::JobError& error);

/// Hands the job back to the queue, for this worker shuts down, or lays it aside as paused; with the state that the run left in
/// `state_file`, where it left one, to go on from. Throws LeaseLost, having left no object behind.
void publish_release(JobLink& link, objects::ObjectStore& store, const storage::Job& job, const training::RunResult& result,
                     const std::filesystem::path& state_file);
void publish_pause(JobLink& link, objects::ObjectStore& store, const storage::Job& job, const training::RunResult& result,
                   const std::filesystem::path& state_file);

}  // namespace finetuned::worker
