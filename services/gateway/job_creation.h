#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "services/gateway/http.h"
#include "services/gateway/job_request.h"
#include "services/gateway/platform.h"
#include "storage/job.h"
#include "storage/postgres/transaction.h"

namespace finetuned::gateway {

/// What a project has of what a request names.
struct JobGround {
  std::string base_model;
  std::string training_object;       ///< of the training file
  std::optional<std::int64_t> rows;  ///< examples in it; empty while intake has not read it
};

/// Throws ApiError 404 `model_not_found` or `file_not_found` (also for other projects' ids); 400 `invalid_file_purpose`,
/// `invalid_training_file`, `invalid_validation_file` with the first faults of a refused dataset. Project scope.
JobGround ground_of(postgres::Transaction& tx, const JobRequest& request);

/// Resolves a checked request: `auto` from the number of examples, for which a file that intake has not read is read here.
storage::NewJob resolve_job(const Platform& platform, const Principal& principal, const JobRequest& request, const JobGround& ground);

/// Both.
storage::NewJob prepare_job(const Platform& platform, const Principal& principal, const JobRequest& request);

}  // namespace finetuned::gateway
