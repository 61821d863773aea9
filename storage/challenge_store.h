#pragma once

#include <boost/json/value.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

inline constexpr int kMostOpenContributions = 3;  ///< of a project, in one challenge

/// A challenge as its sponsor makes it; all checked by the caller. Recipes are resolved hyperparameters.
struct NewChallenge {
  std::string id;  ///< `chal-...`
  std::string organization_id;
  std::string project_id;  ///< the sponsor: its files, and its account pays for the runs
  std::string name;
  std::optional<std::string> description;
  std::string base_model;
  std::string training_file, validation_file;
  std::string metric;  ///< `valid_loss` or `valid_mean_token_accuracy`
  std::int64_t token_budget = 0;  ///< of one run
  std::vector<std::int64_t> seeds;
  std::int64_t reward_micro = 0;
  double target = 0, margin = 0;
  boost::json::value incumbent;  ///< the recipe to beat
};

struct Challenge : NewChallenge {
  std::optional<std::string> incumbent_id;  ///< the contribution that it came from; none: the sponsor's own
  std::int64_t created_at = 0;
  std::optional<std::int64_t> closed_at;
  std::int64_t reward_left_micro = 0;  ///< of reward_micro, what no contribution has earned yet; what was forfeited can be earned again
  std::optional<double> incumbent_mean;  ///< as it was measured last; none where it never was
  /// Nothing can be won any more by getting nearer to the target.
  bool target_reached() const { return incumbent_mean && (lower_is_better() ? *incumbent_mean <= target : *incumbent_mean >= target); }
  bool lower_is_better() const { return metric == "valid_loss"; }
};

struct NewContribution {
  std::string id;  ///< `contrib-...`
  std::string challenge_id;
  std::string project_id;
  boost::json::value recipe;
  std::optional<std::string> note;
};

/// queued -> running -> won | lost | rejected | failed; won -> confirming -> won.
struct Contribution : NewContribution {
  std::string state;
  std::optional<std::string> reason;
  std::int64_t created_at = 0;
  std::optional<std::int64_t> decided_at, vests_at, vested_at, forfeited_at;
  boost::json::value against;  ///< the incumbent's recipe when it was measured; null before
  std::optional<std::string> against_id;
  int round = 1;
  bool confirmation_asked = false;
  std::optional<double> incumbent_mean, contribution_mean, p_value;
  std::int64_t award_micro = 0, escrow_micro = 0;
};

/// One training of a verification.
struct ContributionRun {
  std::string contribution_id;
  int round = 1;
  std::int64_t seed = 0;
  bool of_incumbent = false;
  std::optional<std::string> job_id;
  int attempts = 0;
  bool measured = false;
  std::optional<double> value;  ///< of the metric; none where there is a problem
  std::optional<std::string> problem;
  boost::json::value curve;  ///< array of {step, train_loss, valid_loss?}, or null
};

/// Challenges, what was contributed, and the runs that measure it. Who moves a contribution on is billing/contributions.h. A challenge
/// is read in the system scope, or what is left of its reward counts those awards alone that the scope sees.
class ChallengeStore {
 public:
  explicit ChallengeStore(postgres::Transaction& tx) : tx_(tx) {}

  void insert(const NewChallenge& challenge);
  std::optional<Challenge> find(const std::string& id);
  std::optional<Challenge> find_locked(const std::string& id);  ///< as it is once the lock is held
  /// `organization_id`: its alone.
  Page<Challenge> list(const PageRequest& request, const std::optional<std::string>& organization_id = std::nullopt);
  /// False where it is closed already.
  bool close(const std::string& id);
  void set_incumbent(const std::string& id, const Contribution& winner);

  void insert(const NewContribution& contribution);
  std::optional<Contribution> find_contribution(const std::string& id);
  std::optional<Contribution> find_contribution_locked(const std::string& id);
  Page<Contribution> list_contributions(const std::string& challenge_id, const std::string& project_id,
                                        const PageRequest& request);
  /// Of a project, queued or under way.
  std::int64_t open_contributions(const std::string& challenge_id, const std::string& project_id);
  /// Decided ones that were measured, best first.
  std::vector<Contribution> leaderboard(const Challenge& challenge, int most);
  std::vector<ContributionRun> runs(const std::string& contribution_id, int round);
  std::vector<ContributionRun> all_runs(const std::string& contribution_id);

 private:
  postgres::Transaction& tx_;
};

/// The columns of `contribution`, and a row of them.
extern const char kContributionColumns[];
Contribution read_contribution(const postgres::Row& row);

}  // namespace finetuned::storage
