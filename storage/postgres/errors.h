#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "base/errors.h"

namespace finetuned::postgres {

/// The server is away, the pool is exhausted, or the statement passed its limit: nothing was committed. An ApiError
/// (503, retryable), so that the gateway answers it as it stands; the other roles wait and try again.
struct DatabaseUnavailable : base::ApiError {
  explicit DatabaseUnavailable(const std::string& message);
};

/// The connection broke during COMMIT: the transaction may have happened or not. Never retried blindly: the caller
/// reads the outcome again (a row by its id, a transfer by its id). An ApiError (503, not retryable).
struct CommitOutcomeUnknown : base::ApiError {
  CommitOutcomeUnknown();
};

/// The server refused a statement. `sqlstate` decides what it means; the message is for people.
struct SqlError : std::runtime_error {
  std::string sqlstate;
  SqlError(std::string state, const std::string& message) : std::runtime_error(message), sqlstate(std::move(state)) {}
  bool is_unique_violation() const { return sqlstate == "23505"; }
  bool is_foreign_key_violation() const { return sqlstate == "23503"; }
  bool is_check_violation() const { return sqlstate == "23514"; }
  bool is_exclusion_violation() const { return sqlstate == "23P01"; }
};

}  // namespace finetuned::postgres
