#include <algorithm>
#include <charconv>

#include "base/errors.h"
#include "base/ids.h"
#include "services/gateway/admin.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/challenge_shapes.h"
#include "services/gateway/job_request.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"
#include "storage/file_store.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Transaction;
using storage::ChallengeStore;

namespace {

constexpr std::size_t kLeastSeeds = 3, kMostSeeds = 20;  // fewer convince nobody; a pair of runs each
constexpr std::int64_t kMostSeed = 2147483647;
constexpr std::int64_t kMostReward = 1'000'000'000'000;  // a million points
constexpr std::int64_t kMostTokens = std::int64_t{1} << 53;
constexpr double kMostMetric = 1e6;

storage::Challenge own_challenge(Transaction& tx, const Request& request) {
  const std::string& id = request.params.at(0);
  const auto challenge = base::is_id(id, "chal") ? ChallengeStore(tx).find_locked(id) : std::nullopt;
  if (!challenge || challenge->organization_id != request.principal.organization_id)
    throw no_such("challenge", id, "challenge_id");
  return *challenge;
}

std::string own_file(Transaction& tx, const BodyFields& fields, const storage::NewChallenge& challenge, const char* key) {
  const std::string id = fields.required(key, fields.text(key, 256));
  const auto file = base::is_id(id, "file") ? storage::FileStore(tx).find(id) : std::nullopt;
  if (!file || file->project_id != challenge.project_id) throw no_such("file", id, key);
  return id;
}

std::vector<std::int64_t> read_seeds(const BodyFields& fields) {
  const json::value* given = fields.find("seeds");
  if (!given) return {1, 2, 3};
  const std::string rule = "must be an array of 3 to 20 different integers from 0 to 2147483647";
  if (!given->is_array() || given->get_array().size() < kLeastSeeds || given->get_array().size() > kMostSeeds)
    fields.wrong("seeds", rule);
  std::vector<std::int64_t> seeds;
  for (const json::value& seed : given->get_array()) {
    if (!seed.is_int64() || seed.get_int64() < 0 || seed.get_int64() > kMostSeed ||
        std::find(seeds.begin(), seeds.end(), seed.get_int64()) != seeds.end())
      fields.wrong("seeds", rule);
    seeds.push_back(seed.get_int64());
  }
  return seeds;
}

std::int64_t read_reward(const BodyFields& fields) {
  const std::string text = fields.required("reward", fields.text("reward", 20));
  std::int64_t micro = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), micro);
  if (error != std::errc() || end != text.data() + text.size() || micro < 1 || micro > kMostReward)
    fields.wrong("reward", "must be a positive number of micro-points, as a string, of at most a million points");
  return micro;
}

json::object create_challenge(Transaction& tx, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  storage::NewChallenge challenge;
  challenge.id = base::make_id("chal");
  challenge.organization_id = request.principal.organization_id;
  challenge.project_id = fields.required("project_id", fields.text("project_id", 256));
  const auto project = storage::OrganizationStore(tx).lock_project_of(challenge.organization_id, challenge.project_id);
  if (!project) throw no_such("project", challenge.project_id, "project_id");
  if (project->archived_at)
    throw base::bad_request("project_archived", "The project " + project->id + " is archived and takes no changes.", "project_id");
  challenge.name = fields.required("name", fields.text("name", 100));
  challenge.description = fields.text("description", 2000);
  challenge.base_model = fields.required("model", fields.text("model", 256));
  challenge.training_file = own_file(tx, fields, challenge, "training_file");
  challenge.validation_file = own_file(tx, fields, challenge, "validation_file");
  challenge.metric = fields.choice("metric", {"valid_loss", "valid_mean_token_accuracy"}).value_or("valid_loss");
  challenge.token_budget = fields.required("token_budget", fields.integer("token_budget", 1, kMostTokens));
  challenge.seeds = read_seeds(fields);
  challenge.reward_micro = read_reward(fields);
  challenge.target = fields.required("target", fields.number("target", -kMostMetric, kMostMetric));
  challenge.margin = fields.number("margin", 0, kMostMetric).value_or(0);
  challenge.incumbent = read_recipe(tx, challenge, fields.find("baseline"), "baseline");
  ChallengeStore store(tx);
  store.insert(challenge);
  const json::object shape = organization_challenge_shape(*store.find(challenge.id));
  audit(tx, request, "challenge.created",
        {{"id", challenge.id}, {"data", {{"name", challenge.name}, {"reward", std::to_string(challenge.reward_micro)}}}},
        challenge.project_id);
  return shape;
}

json::object list_challenges(Transaction& tx, const Request& request) {
  return cursor_list(ChallengeStore(tx).list(page_request(request, 20, 100), request.principal.organization_id),
                     organization_challenge_shape);
}

json::object close_challenge(Transaction& tx, const Request& request) {
  const storage::Challenge challenge = own_challenge(tx, request);
  ChallengeStore store(tx);
  const bool closed = store.close(challenge.id);
  const json::object shape = organization_challenge_shape(*store.find(challenge.id));
  if (closed) audit(tx, request, "challenge.closed", {{"id", challenge.id}}, challenge.project_id);
  return shape;
}

/// A second verification, with seeds that nobody could know: vests what waits, or forfeits it.
json::object confirm_contribution(Transaction& tx, const Request& request) {
  const storage::Challenge challenge = own_challenge(tx, request);
  const std::string& id = request.params.at(1);
  ChallengeStore store(tx);
  const auto contribution = base::is_id(id, "contrib") ? store.find_contribution_locked(id) : std::nullopt;
  if (!contribution || contribution->challenge_id != challenge.id) throw no_such("contribution", id, "contribution_id");
  if (contribution->state != "won" || contribution->vested_at || contribution->forfeited_at || contribution->round != 1)
    throw base::ApiError(409, "invalid_request_error", "nothing_to_confirm",
                         "The contribution " + id + " has no pending half of an award that a second verification could decide.");
  if (!contribution->confirmation_asked) {
    tx.execute("UPDATE contribution SET confirm_asked_at = clock_timestamp() WHERE id = $1", {id});
    audit(tx, request, "challenge.contribution.confirmation_asked", {{"id", id}, {"data", {{"challenge_id", challenge.id}}}},
          challenge.project_id);
  }
  return leaderboard_entry(*contribution, store.all_runs(id), false);
}

}  // namespace

void add_organization_challenge_routes(Router& router, const Platform& platform) {
  const std::string all = "/v1/organization/challenges", one = all + "/{challenge_id}";
  add_admin_create_route(router, platform, all, create_challenge);
  add_admin_route(router, platform, "GET", all, list_challenges);
  add_admin_route(router, platform, "POST", one + "/close", close_challenge);
  add_admin_route(router, platform, "POST", one + "/contributions/{contribution_id}/confirm", confirm_contribution);
}

}  // namespace finetuned::gateway
