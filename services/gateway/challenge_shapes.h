#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "services/gateway/http.h"
#include "storage/challenge_store.h"
#include "storage/postgres/transaction.h"

namespace finetuned::gateway {

/// A challenge as everybody sees it: nothing of its sponsor but the files' sizes in the budget.
base::json::object challenge_shape(const storage::Challenge& challenge);
/// The same for the sponsor's organization, with project and files.
base::json::object organization_challenge_shape(const storage::Challenge& challenge);
/// A contribution for its own project.
base::json::object contribution_shape(const storage::Contribution& contribution);
/// The same as everybody sees it once it is decided, with its runs: not whose it is, but for `mine`.
base::json::object leaderboard_entry(const storage::Contribution& contribution, const std::vector<storage::ContributionRun>& runs,
                                     bool mine);

/// A recipe from a body's `recipe`, an object of hyperparameters: resolved for the rows that the challenge trains on, its
/// checkpoints left out, as they change no result. Throws ApiError 400; `recipe_beyond_budget` where it trains more tokens
/// than the challenge allows, `challenge_not_ready` where the files are still being read. System scope.
base::json::object read_recipe(postgres::Transaction& tx, const storage::NewChallenge& challenge, const base::json::value* given,
                               const std::string& param);

}  // namespace finetuned::gateway
