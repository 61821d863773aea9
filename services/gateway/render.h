#pragma once

#include <chrono>
#include <exception>
#include <string>

#include "base/errors.h"
#include "services/gateway/http.h"

namespace finetuned::gateway {

/// OpenAI's error shape: `{"error":{"message","type","param","code"}}`. On statuses that the official clients retry
/// (408, 409, 429, 5xx), `x-should-retry: false` unless the error is retryable; `retry-after` (seconds, rounded
/// up) and `retry-after-ms` on 429 and 503.
Response render_error(const base::ApiError& error);

/// Any exception as an ApiError: ours as it is; a full pool, a full disk and an unreachable database as their status;
/// everything else as a 500 that says nothing of its inside, which is logged with the request's id.
base::ApiError as_api_error(const std::exception_ptr& thrown, const std::string& request_id);

/// What is said on every answer.
struct AnswerContext {
  std::string request_id;
  std::string organization;  ///< empty before the key is known
  std::chrono::steady_clock::duration processing{};
  bool keep_alive = true;
  bool chunks = true;  ///< the client reads them: HTTP/1.1
  RateViews rates;           ///< empty before the key is known
};

/// Appends the head of the answer, up to and with its empty line: status, the response's own headers and those of every
/// answer (content-length or transfer-encoding, connection, date, x-request-id, openai-*, x-ratelimit-*).
void render_head(std::string& into, const Response& response, const AnswerContext& context);
std::string render_head(const Response& response, const AnswerContext& context);

}  // namespace finetuned::gateway
