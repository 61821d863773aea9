#include "services/gateway/challenge_shapes.h"

#include "base/errors.h"
#include "billing/quote.h"
#include "services/gateway/hyperparameters.h"
#include "services/gateway/shapes.h"
#include "storage/model_store.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

json::value number_or_null(const std::optional<double>& number) {
  return number ? json::value(*number) : json::value(nullptr);
}

json::object run_shape(const storage::ContributionRun& run) {
  json::object shape;
  shape["side"] = run.of_incumbent ? "incumbent" : "contribution";
  shape["round"] = run.round;
  shape["seed"] = run.seed;
  shape["value"] = number_or_null(run.value);
  shape["problem"] = or_null(run.problem);
  shape["curve"] = run.curve.is_array() ? run.curve : json::value(json::array());
  return shape;
}

/// What a quote of the challenge's files throws names the sponsor's files: its own words alone go on.
std::optional<billing::Quote> quote_of(postgres::Transaction& tx, const storage::NewChallenge& challenge,
                                       const json::object& recipe, const std::string& param) {
  billing::QuoteRequest request;
  request.training_file = challenge.training_file;
  request.validation_file = challenge.validation_file;
  const auto base = storage::ModelStore(tx).find_base(challenge.base_model);
  if (!base) throw base::bad_request("model_not_found", "The model `" + challenge.base_model + "` does not exist.", "model");
  request.base = *base;
  if (const json::value* epochs = recipe.if_contains("n_epochs"); epochs && epochs->is_int64()) request.epochs = epochs->get_int64();
  if (const json::value* cut = recipe.if_contains("max_seq_length"); cut && cut->is_int64()) request.max_seq_length = cut->get_int64();
  try {
    return billing::make_quote(tx, request);
  } catch (const base::ApiError& error) {
    if (error.status >= 500) throw;
    throw base::bad_request("recipe_not_trainable",
                            error.code == "row_exceeds_context"
                                ? "A row of the challenge's files is longer than the model's context: give max_seq_length."
                                : "The challenge's files cannot be trained on.",
                            param);
  }
}

}  // namespace

json::object challenge_shape(const storage::Challenge& challenge) {
  json::object shape;
  shape["object"] = "challenge";
  shape["id"] = challenge.id;
  shape["name"] = challenge.name;
  shape["description"] = or_null(challenge.description);
  shape["status"] = challenge.closed_at ? "closed" : "open";
  shape["model"] = challenge.base_model;
  shape["metric"] = challenge.metric;
  shape["token_budget"] = challenge.token_budget;
  shape["seeds"] = json::array(challenge.seeds.begin(), challenge.seeds.end());
  shape["reward"] = std::to_string(challenge.reward_micro);
  shape["reward_left"] = std::to_string(challenge.reward_left_micro);
  shape["target"] = challenge.target;
  shape["margin"] = challenge.margin;
  json::object incumbent;
  incumbent["recipe"] = challenge.incumbent;
  incumbent["contribution_id"] = or_null(challenge.incumbent_id);
  shape["incumbent"] = std::move(incumbent);
  shape["created_at"] = challenge.created_at;
  shape["closed_at"] = or_null(challenge.closed_at);
  return shape;
}

json::object organization_challenge_shape(const storage::Challenge& challenge) {
  json::object shape = challenge_shape(challenge);
  shape["object"] = "organization.challenge";
  shape["project_id"] = challenge.project_id;
  shape["training_file"] = challenge.training_file;
  shape["validation_file"] = challenge.validation_file;
  return shape;
}

json::object contribution_shape(const storage::Contribution& contribution) {
  json::object shape;
  shape["object"] = "challenge.contribution";
  shape["id"] = contribution.id;
  shape["challenge_id"] = contribution.challenge_id;
  shape["status"] = contribution.state;
  shape["reason"] = or_null(contribution.reason);
  shape["note"] = or_null(contribution.note);
  shape["recipe"] = contribution.recipe;
  json::object against;
  against["recipe"] = contribution.against;
  against["contribution_id"] = or_null(contribution.against_id);
  shape["against"] = contribution.against.is_null() ? json::value(nullptr) : json::value(std::move(against));
  shape["incumbent_mean"] = number_or_null(contribution.incumbent_mean);
  shape["contribution_mean"] = number_or_null(contribution.contribution_mean);
  shape["p_value"] = number_or_null(contribution.p_value);
  const std::int64_t escrow = contribution.escrow_micro;
  const bool waits = !contribution.vested_at && !contribution.forfeited_at;
  shape["award"] = std::to_string(contribution.award_micro);
  shape["vested"] = std::to_string(contribution.award_micro - (contribution.vested_at ? 0 : escrow));
  shape["pending"] = std::to_string(waits ? escrow : 0);
  shape["forfeited"] = std::to_string(contribution.forfeited_at ? escrow : 0);
  shape["vests_at"] = waits ? or_null(contribution.vests_at) : json::value(nullptr);
  shape["created_at"] = contribution.created_at;
  shape["decided_at"] = or_null(contribution.decided_at);
  return shape;
}

json::object leaderboard_entry(const storage::Contribution& contribution, const std::vector<storage::ContributionRun>& runs,
                               bool mine) {
  json::object shape = contribution_shape(contribution);
  shape["object"] = "challenge.leaderboard.entry";
  shape["mine"] = mine;
  if (!mine) shape["note"] = nullptr;
  json::array shown;
  for (const storage::ContributionRun& run : runs)
    if (run.measured) shown.push_back(run_shape(run));
  shape["runs"] = std::move(shown);
  return shape;
}

json::object read_recipe(postgres::Transaction& tx, const storage::NewChallenge& challenge, const json::value* given,
                         const std::string& param) {
  json::object settings;
  if (given) settings = parse_hyperparameters(*given, param);
  const base::ApiError not_ready =
      base::bad_request("challenge_not_ready", "The challenge's files are still being read: ask again in a moment.", param);
  const auto rows = quote_of(tx, challenge, settings, param);  // of one pass, or as many as are named
  if (!rows) throw not_ready;
  json::object recipe = resolve_hyperparameters(settings, rows->rows);
  recipe["checkpoint_steps"] = nullptr;
  const auto quote = quote_of(tx, challenge, recipe, param);
  if (!quote) throw not_ready;
  if (quote->tokens > challenge.token_budget)
    throw base::bad_request("recipe_beyond_budget",
                            "The recipe trains " + std::to_string(quote->tokens) + " tokens and the challenge allows " +
                                std::to_string(challenge.token_budget) + ": train fewer epochs, or cut rows by max_seq_length.",
                            param);
  return recipe;
}

}  // namespace finetuned::gateway
