#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"
#include "storage/job.h"

namespace finetuned::gateway {

/// The body of POST /v1/fine_tuning/jobs, checked for itself: whether its model and files exist is not known yet.
struct JobRequest {
  std::string model;
  std::string training_file;
  std::optional<std::string> validation_file;
  std::optional<std::string> suffix;
  std::optional<std::int64_t> seed;
  int priority = 0;                ///< -10..10, an extension
  storage::Payment payment = storage::Payment::kUsd;  ///< an extension
  base::json::value metadata;      ///< object of strings, or null
  base::json::value integrations;  ///< array, or null
  base::json::object hyperparameters;  ///< the given ones, see hyperparameters.h
};

/// Reads the body strictly: unknown keys are refused (`unknown_parameter`), so that a misspelt one never goes unnoticed.
/// `hyperparameters` at the top (deprecated) counts like `method.supervised.hyperparameters`; both at once are refused.
/// The methods `dpo` and `reinforcement` are refused (`unsupported_method`). Throws ApiError 400 naming the parameter.
JobRequest parse_job_request(std::string_view body);

/// A JSON object from a body. Throws ApiError 400 `invalid_json` with the offset of the fault.
base::json::object parse_body(std::string_view body);

}  // namespace finetuned::gateway
