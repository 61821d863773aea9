#pragma once

#include <optional>
#include <string>

#include "billing/ledger.h"
#include "storage/organization_store.h"

namespace finetuned::billing {

/// The most that a project may owe: a billion dollars.
inline constexpr Amount kMostCredit{1'000'000'000'000'000'000};

/// Sets how far a project may go below nothing (0 <= limit <= kMostCredit), and writes `credit_limit.updated` into the audit log,
/// which verify_books holds against the account; nothing where it is the limit already. `actor_key_id` is the admin key's, none: the
/// operator. The last thing in its transaction. System scope.
Balance set_credit_limit(postgres::Transaction& tx, const storage::Project& project, Amount limit,
                         const std::optional<std::string>& actor_key_id);

}  // namespace finetuned::billing
