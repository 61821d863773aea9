#pragma once

#include <cstdint>
#include <string>

#include "services/gateway/http.h"
#include "services/gateway/job_request.h"
#include "services/gateway/platform.h"
#include "storage/job.h"

namespace finetuned::gateway {

/// Resolves a checked request against what the project has: its model, its files, `auto` from the number of examples.
/// Throws ApiError 404 `model_not_found` or `file_not_found` (also for other projects' ids); 400 `invalid_file_purpose`,
/// `invalid_training_file`, `invalid_validation_file` with the first faults of a refused dataset.
storage::NewJob prepare_job(const Platform& platform, const Principal& principal, const JobRequest& request);

}  // namespace finetuned::gateway
