#include "storage/challenge_store.h"

#include "storage/cursor.h"
#include "storage/json_columns.h"

namespace finetuned::storage {

namespace {

constexpr char kSelectChallenge[] =
    "SELECT id, organization_id, project_id, name, description, base_model, training_file, validation_file, metric, token_budget,"
    " array_to_json(seeds)::text AS seeds, reward_micro, target, margin, incumbent, incumbent_id,"
    " extract(epoch FROM created_at)::bigint AS created_at, extract(epoch FROM closed_at)::bigint AS closed_at,"
    " greatest(0, reward_micro - (SELECT coalesce(sum(award_micro - CASE WHEN forfeited_at IS NULL THEN 0 ELSE escrow_micro END), 0)"
    "  FROM contribution WHERE challenge_id = challenge.id))::bigint AS reward_left,"
    " coalesce((SELECT c.incumbent_mean FROM contribution c WHERE c.challenge_id = challenge.id AND c.incumbent_mean IS NOT NULL"
    "   AND c.against_id IS NOT DISTINCT FROM challenge.incumbent_id ORDER BY c.seq DESC LIMIT 1),"
    "  (SELECT c.contribution_mean FROM contribution c WHERE c.id = challenge.incumbent_id)) AS incumbent_mean"
    " FROM challenge WHERE ";
constexpr char kSelectRuns[] =
    "SELECT contribution_id, round, seed, side = 'incumbent' AS of_incumbent, job_id, attempts, measured_at IS NOT NULL AS measured,"
    " value, problem, curve FROM contribution_run WHERE contribution_id = $1";

std::optional<double> maybe_real(const postgres::Row& row, std::string_view column) {
  if (row.is_null(column)) return std::nullopt;
  return row.real(column);
}

std::string array_of(const std::vector<std::int64_t>& numbers) {
  std::string text = "{";
  for (const std::int64_t number : numbers) text += (text.size() > 1 ? "," : "") + std::to_string(number);
  return text + "}";
}

Challenge read_challenge(const postgres::Row& row) {
  Challenge challenge;
  challenge.id = row.text("id");
  challenge.organization_id = row.text("organization_id");
  challenge.project_id = row.text("project_id");
  challenge.name = row.text("name");
  challenge.description = row.maybe_text("description");
  challenge.base_model = row.text("base_model");
  challenge.training_file = row.text("training_file");
  challenge.validation_file = row.text("validation_file");
  challenge.metric = row.text("metric");
  challenge.token_budget = row.integer("token_budget");
  const boost::json::value seeds = json_column(row, "seeds");
  for (const auto& seed : seeds.as_array()) challenge.seeds.push_back(seed.to_number<std::int64_t>());
  challenge.reward_micro = row.integer("reward_micro");
  challenge.target = row.real("target");
  challenge.margin = row.real("margin");
  challenge.incumbent = json_column(row, "incumbent");
  challenge.incumbent_id = row.maybe_text("incumbent_id");
  challenge.created_at = row.integer("created_at");
  challenge.closed_at = row.maybe_integer("closed_at");
  challenge.reward_left_micro = row.integer("reward_left");
  challenge.incumbent_mean = maybe_real(row, "incumbent_mean");
  return challenge;
}

ContributionRun read_run(const postgres::Row& row) {
  ContributionRun run;
  run.contribution_id = row.text("contribution_id");
  run.round = static_cast<int>(row.integer("round"));
  run.seed = row.integer("seed");
  run.of_incumbent = row.boolean("of_incumbent");
  run.job_id = row.maybe_text("job_id");
  run.attempts = static_cast<int>(row.integer("attempts"));
  run.measured = row.boolean("measured");
  run.value = maybe_real(row, "value");
  run.problem = row.maybe_text("problem");
  run.curve = json_column(row, "curve");
  return run;
}

template <class Read>
auto read_all(const postgres::Result& rows, Read read) {
  std::vector<decltype(read(rows.row(0)))> all;
  for (std::size_t i = 0; i < rows.size(); ++i) all.push_back(read(rows.row(i)));
  return all;
}

std::optional<Challenge> maybe_challenge(const postgres::Result& rows) {
  if (rows.empty()) return std::nullopt;
  return read_challenge(rows.row(0));
}

std::optional<Contribution> maybe_contribution(const postgres::Result& rows) {
  if (rows.empty()) return std::nullopt;
  return read_contribution(rows.row(0));
}

std::string select_contribution(const std::string& where) {
  return std::string("SELECT ") + kContributionColumns + " FROM contribution WHERE " + where;
}

}  // namespace

const char kContributionColumns[] =
    "id, challenge_id, project_id, recipe, note, state, reason, extract(epoch FROM created_at)::bigint AS created_at,"
    " extract(epoch FROM decided_at)::bigint AS decided_at, extract(epoch FROM vests_at)::bigint AS vests_at,"
    " extract(epoch FROM vested_at)::bigint AS vested_at, extract(epoch FROM forfeited_at)::bigint AS forfeited_at, against,"
    " against_id, round, confirm_asked_at IS NOT NULL AS confirmation_asked, incumbent_mean, contribution_mean, p_value,"
    " award_micro, escrow_micro";

Contribution read_contribution(const postgres::Row& row) {
  Contribution contribution;
  contribution.id = row.text("id");
  contribution.challenge_id = row.text("challenge_id");
  contribution.project_id = row.text("project_id");
  contribution.recipe = json_column(row, "recipe");
  contribution.note = row.maybe_text("note");
  contribution.state = row.text("state");
  contribution.reason = row.maybe_text("reason");
  contribution.created_at = row.integer("created_at");
  contribution.decided_at = row.maybe_integer("decided_at");
  contribution.vests_at = row.maybe_integer("vests_at");
  contribution.vested_at = row.maybe_integer("vested_at");
  contribution.forfeited_at = row.maybe_integer("forfeited_at");
  contribution.against = json_column(row, "against");
  contribution.against_id = row.maybe_text("against_id");
  contribution.round = static_cast<int>(row.integer("round"));
  contribution.confirmation_asked = row.boolean("confirmation_asked");
  contribution.incumbent_mean = maybe_real(row, "incumbent_mean");
  contribution.contribution_mean = maybe_real(row, "contribution_mean");
  contribution.p_value = maybe_real(row, "p_value");
  contribution.award_micro = row.integer("award_micro");
  contribution.escrow_micro = row.integer("escrow_micro");
  return contribution;
}

void ChallengeStore::insert(const NewChallenge& challenge) {
  tx_.execute(
      "INSERT INTO challenge (id, organization_id, project_id, name, description, base_model, training_file, validation_file,"
      " metric, token_budget, seeds, reward_micro, target, margin, incumbent)"
      " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::bigint[], $12, $13, $14, $15::jsonb)",
      {challenge.id, challenge.organization_id, challenge.project_id, challenge.name, challenge.description,
       challenge.base_model, challenge.training_file, challenge.validation_file, challenge.metric, challenge.token_budget,
       array_of(challenge.seeds), challenge.reward_micro, challenge.target, challenge.margin, json_value(challenge.incumbent)});
}

std::optional<Challenge> ChallengeStore::find(const std::string& id) {
  return maybe_challenge(tx_.execute(std::string(kSelectChallenge) + "id = $1", {id}));
}

std::optional<Challenge> ChallengeStore::find_locked(const std::string& id) {
  tx_.execute("SELECT FROM challenge WHERE id = $1 FOR UPDATE", {id});
  return find(id);
}

Page<Challenge> ChallengeStore::list(const PageRequest& request, const std::optional<std::string>& organization_id) {
  return read_page(tx_, request, "challenge", "id", "organization_id",
                   std::string(kSelectChallenge) + "($1::text IS NULL OR organization_id = $1)",
                   {organization_id}, read_challenge);
}

bool ChallengeStore::close(const std::string& id) {
  return tx_.execute("UPDATE challenge SET closed_at = clock_timestamp() WHERE id = $1 AND closed_at IS NULL", {id})
             .affected_rows() == 1;
}

void ChallengeStore::set_incumbent(const std::string& id, const Contribution& winner) {
  tx_.execute("UPDATE challenge SET incumbent = $2::jsonb, incumbent_id = $3 WHERE id = $1",
              {id, json_value(winner.recipe), winner.id});
}

void ChallengeStore::insert(const NewContribution& contribution) {
  tx_.execute("INSERT INTO contribution (id, challenge_id, project_id, recipe, note) VALUES ($1, $2, $3, $4::jsonb, $5)",
              {contribution.id, contribution.challenge_id, contribution.project_id, json_value(contribution.recipe),
               contribution.note});
}

std::optional<Contribution> ChallengeStore::find_contribution(const std::string& id) {
  return maybe_contribution(tx_.execute(select_contribution("id = $1"), {id}));
}

std::optional<Contribution> ChallengeStore::find_contribution_locked(const std::string& id) {
  return maybe_contribution(tx_.execute(select_contribution("id = $1 FOR UPDATE"), {id}));
}

Page<Contribution> ChallengeStore::list_contributions(const std::string& challenge_id, const std::string& project_id,
                                                      const PageRequest& request) {
  return read_page(tx_, request, "contribution", "id", "challenge_id",
                   select_contribution("challenge_id = $1 AND project_id = $2"),
                   {challenge_id, project_id}, read_contribution);
}

std::int64_t ChallengeStore::open_contributions(const std::string& challenge_id, const std::string& project_id) {
  return tx_.execute("SELECT count(*) AS open FROM contribution WHERE challenge_id = $1 AND project_id = $2"
                     " AND state IN ('queued', 'running')", {challenge_id, project_id}).row(0).integer("open");
}

std::vector<Contribution> ChallengeStore::leaderboard(const Challenge& challenge, int most) {
  const std::string order = challenge.lower_is_better() ? "contribution_mean" : "contribution_mean DESC";
  return read_all(tx_.execute(select_contribution("challenge_id = $1 AND decided_at IS NOT NULL AND contribution_mean IS NOT NULL") +
                                  " ORDER BY " + order + ", seq LIMIT $2",
                              {challenge.id, most}),
                  read_contribution);
}

std::vector<ContributionRun> ChallengeStore::runs(const std::string& contribution_id, int round) {
  return read_all(tx_.execute(std::string(kSelectRuns) + " AND round = $2 ORDER BY seq", {contribution_id, round}), read_run);
}

std::vector<ContributionRun> ChallengeStore::all_runs(const std::string& contribution_id) {
  return read_all(tx_.execute(std::string(kSelectRuns) + " ORDER BY seq", {contribution_id}), read_run);
}

}  // namespace finetuned::storage
