#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/errors.h"
#include "services/worker/job_config.h"
#include "services/worker/resident_bases.h"
#include "storage/job.h"
#include "storage/model_store.h"
#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"
#include "trainer/text/token_row.h"

namespace finetuned::worker {

/// The job cannot be run as it was asked for, by its owner's doing: it fails with this code and message.
struct JobRefused : std::runtime_error {
  std::string code;
  std::string param;  ///< the request field at fault; may be empty
  JobRefused(std::string error_code, std::string request_param, const std::string& message)
      : std::runtime_error(message), code(std::move(error_code)), param(std::move(request_param)) {}
};

/// All that a run reads, fetched and checked.
struct JobData {
  JobConfig config;
  storage::BaseModel base;
  std::string organization;  ///< its name, for the new model's
  std::int64_t told_steps = 0;  ///< JobStore::last_told_step()
  std::vector<text::TokenRow> training;
  std::vector<text::TokenRow> validation;
};

/// Fetches the job's datasets (and, where it goes on from an own model, that model's adapter) into `scratch`, and
/// turns rows into tokens by the tokenizer in `bases`. Throws JobRefused, FormatError, and what the database or the disk throws.
JobData load_job_data(postgres::Pool& pool, objects::ObjectStore& store, const storage::Job& job,
                      ResidentBases& bases, const std::filesystem::path& scratch);

}  // namespace finetuned::worker
