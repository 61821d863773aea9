#pragma once

#include <cstdint>
#include <exception>
#include <functional>
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

/// Takes a number of examples, or why there is none.
using Counted = std::function<void(std::optional<std::int64_t>, const std::exception_ptr&)>;
/// Counts the examples of a file that intake has not read yet, its lines that hold anything but blanks, on the object store's
/// threads; `counted` is called there, or, where the store does not answer, on another thread. Does not block.
void count_rows(const Platform& platform, const std::string& object_id, Counted counted);

/// Resolves a checked request: `auto` from the number of examples.
storage::NewJob resolve_job(const Principal& principal, const JobRequest& request, const JobGround& ground, std::int64_t rows);

}  // namespace finetuned::gateway
