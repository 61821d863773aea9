#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

namespace finetuned::base {

/// Ends an API request. Rendered at the HTTP edge only, in OpenAI's error shape.
struct ApiError : std::runtime_error {
  int status;                       ///< HTTP status
  std::string type;                 ///< `invalid_request_error`, `insufficient_quota`, `server_error`, ...
  std::string code;                 ///< machine-readable, e.g. `file_not_found`
  std::optional<std::string> param; ///< the request field at fault, e.g. `training_file`
  bool retryable = false;           ///< false sends `x-should-retry: false` on statuses that clients retry
  std::optional<std::chrono::milliseconds> retry_after;  ///< of 429 and 503 that are retryable; a second where it isn't said

  ApiError(int http_status, std::string error_type, std::string error_code, const std::string& message,
           std::optional<std::string> request_param = std::nullopt, bool can_retry = false)
      : std::runtime_error(message), status(http_status), type(std::move(error_type)), code(std::move(error_code)),
        param(std::move(request_param)), retryable(can_retry) {}
};

/// The commonest ApiErrors.
ApiError bad_request(std::string code, const std::string& message, std::optional<std::string> param = std::nullopt);
ApiError not_found(const std::string& message, std::optional<std::string> param = std::nullopt);
ApiError unavailable(const std::string& message);  ///< 503, retryable

/// A file is not what it claims to be. The message names file, field and offset, then the remedy.
struct FormatError : std::runtime_error {
  std::string file;
  std::string field;
  std::optional<std::uint64_t> offset;  ///< byte offset in `file`, where one is known

  FormatError(std::string in_file, std::string in_field, const std::string& message,
              std::optional<std::uint64_t> at_offset = std::nullopt);
};

/// The person at the command line asked for something that cannot be: one line on stderr, exit 2.
struct UsageError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A configuration is wrong; the message lists every fault, a line each. Exit 2.
struct ConfigError : UsageError {
  using UsageError::UsageError;
};

}  // namespace finetuned::base
