#pragma once

#include <cstdint>
#include <string>

#include "services/gateway/http.h"
#include "services/gateway/platform.h"
#include "services/gateway/rate_limiter.h"

namespace finetuned::gateway {

/// Counts an authenticated request against its key and its project, and notes in `request.rates` how they stand (both
/// of which a refused request's answer says as well). Throws ApiError 429 `rate_limit_exceeded` with the time to wait.
void take_request(RateLimiter& limiter, const DoorRates& rates, Request& request);

/// Counts one request that makes a model work (a job's creation, a completion) against the project's limits of that
/// base model, of a minute and of a day; POST .../rate_limits changes them at once. A model without limits passes: that
/// it doesn't exist is its caller's to say. Throws ApiError 429, and 503 without the database.
void take_model_request(const Platform& platform, const Request& request, const std::string& model);

/// Counts tokens against the model's limit of a minute and the project's own: what a prompt has and what its answer may
/// come to. More than the whole of a limit is refused as not worth repeating.
void take_model_tokens(const Platform& platform, const Request& request, const std::string& model, std::int64_t tokens);

}  // namespace finetuned::gateway
