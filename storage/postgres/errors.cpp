#include "storage/postgres/errors.h"

namespace finetuned::postgres {

DatabaseUnavailable::DatabaseUnavailable(const std::string& message)
    : base::ApiError(503, "server_error", "service_unavailable", message, std::nullopt, true) {}

CommitOutcomeUnknown::CommitOutcomeUnknown()
    : base::ApiError(503, "server_error", "commit_outcome_unknown",
                     "The connection to the database broke while the change was being committed, so it may or may not "
                     "have happened. Look whether it did before you try again.") {}

}  // namespace finetuned::postgres
