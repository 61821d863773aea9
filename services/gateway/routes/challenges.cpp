#include "base/errors.h"
#include "base/ids.h"
#include "base/log.h"
#include "services/gateway/admin.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/challenge_shapes.h"
#include "services/gateway/idempotency.h"
#include "services/gateway/job_request.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;
using storage::ChallengeStore;

namespace {

constexpr std::size_t kMostNote = 500;
constexpr int kDefaultEntries = 20, kMostEntries = 50;

Scope own(const Request& request) { return Scope::project(request.principal.project_id); }

/// Everybody's: in the system scope.
storage::Challenge find_challenge(Transaction& tx, const Request& request) {
  const std::string& id = request.params.at(0);
  const auto challenge = base::is_id(id, "chal") ? ChallengeStore(tx).find(id) : std::nullopt;
  if (!challenge) throw no_such("challenge", id, "challenge_id");
  return *challenge;
}

storage::Challenge challenge_of(const Platform& platform, const Request& request) {
  return platform.database.transact(Scope::system(), [&](Transaction& tx) { return find_challenge(tx, request); });
}

Response list_challenges(const Platform& platform, const Request& request) {
  const auto page = page_request(request, 20, 100);
  return json_response(platform.database.transact(Scope::system(), [&](Transaction& tx) {
    return cursor_list(ChallengeStore(tx).list(page), challenge_shape);
  }));
}

Response get_challenge(const Platform& platform, const Request& request) {
  return json_response(challenge_shape(challenge_of(platform, request)));
}

json::object submit_locked(Transaction& tx, const storage::Challenge& challenge, const storage::NewContribution& contribution) {
  // One submission of a project at a time, or two would both be its last allowed one.
  tx.execute("SELECT FROM project WHERE id = $1 FOR UPDATE", {contribution.project_id});
  ChallengeStore store(tx);
  if (store.open_contributions(challenge.id, contribution.project_id) >= storage::kMostOpenContributions)
    throw base::ApiError(429, "insufficient_quota", "too_many_contributions",
                         "The project has " + std::to_string(storage::kMostOpenContributions) +
                             " contributions to this challenge that are not decided yet: wait for one of them.");
  store.insert(contribution);
  return contribution_shape(*store.find_contribution(contribution.id));
}

/// Body: {"recipe": {hyperparameters}, "note"?}
Response submit(const Platform& platform, const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  storage::NewContribution contribution;
  contribution.note = fields.text("note", kMostNote);
  const json::value* recipe = fields.required("recipe", std::optional(fields.find("recipe")));
  if (!recipe) throw base::bad_request("missing_required_parameter", "Missing required parameter: recipe.", "recipe");
  storage::Challenge challenge;
  platform.database.transact(Scope::system(), [&](Transaction& tx) {  // the sponsor's files are counted
    challenge = find_challenge(tx, request);
    if (challenge.closed_at)
      throw base::ApiError(409, "invalid_request_error", "challenge_closed", "The challenge " + challenge.id + " is closed.");
    if (challenge.reward_left_micro == 0)
      throw base::ApiError(409, "invalid_request_error", "reward_used_up",
                           "All of the reward of the challenge " + challenge.id +
                               " is earned: a better recipe would earn nothing. Its reward_left says when there is some again.");
    if (challenge.target_reached())
      throw base::ApiError(409, "invalid_request_error", "target_reached",
                           "The incumbent of the challenge " + challenge.id +
                               " has reached its target: a better recipe would earn nothing. Ask its sponsor for a challenge that goes further.");
    contribution.recipe = read_recipe(tx, challenge, recipe, "recipe");
  });
  contribution.id = base::make_id("contrib");
  contribution.challenge_id = challenge.id;
  contribution.project_id = request.principal.project_id;
  const json::object shape = platform.database.transact(own(request), [&](Transaction& tx) {
    return answer_once(tx, platform, request, [&] { return submit_locked(tx, challenge, contribution); });
  });
  if (std::string(shape.at("id").as_string()) == contribution.id)
    base::log_info("a recipe was contributed", {{"contribution", contribution.id}, {"project", contribution.project_id}});
  return json_response(shape);
}

Response list_contributions(const Platform& platform, const Request& request) {
  const auto page = page_request(request, 20, 100);
  const auto challenge = challenge_of(platform, request);
  return json_response(platform.database.transact(own(request), [&](Transaction& tx) {
    return cursor_list(ChallengeStore(tx).list_contributions(challenge.id, request.principal.project_id, page), contribution_shape);
  }));
}

Response get_contribution(const Platform& platform, const Request& request) {
  const std::string& id = request.params.at(1);
  const auto challenge = challenge_of(platform, request);
  return json_response(platform.database.transact(own(request), [&](Transaction& tx) {
    const auto contribution = base::is_id(id, "contrib") ? ChallengeStore(tx).find_contribution(id) : std::nullopt;
    if (!contribution || contribution->challenge_id != challenge.id || contribution->project_id != request.principal.project_id)
      throw no_such("contribution", id, "contribution_id");
    return contribution_shape(*contribution);
  }));
}

Response leaderboard(const Platform& platform, const Request& request) {
  const int most = page_request(request, kDefaultEntries, kMostEntries).limit;
  return json_response(platform.database.snapshot(Scope::system(), [&](Transaction& tx) {
    const auto challenge = find_challenge(tx, request);
    ChallengeStore store(tx);
    json::array data;
    for (const storage::Contribution& contribution : store.leaderboard(challenge, most))
      data.push_back(leaderboard_entry(contribution, store.all_runs(contribution.id),
                                       contribution.project_id == request.principal.project_id));
    json::object shape;
    shape["object"] = "challenge.leaderboard";
    shape["challenge"] = challenge_shape(challenge);
    shape["data"] = std::move(data);
    return shape;
  }));
}

}  // namespace

void add_challenge_routes(Router& router, const Platform& platform) {
  using Answer = Response (*)(const Platform&, const Request&);
  const auto add = [&](const char* method, const char* path, Answer answer) {
    router.add(method, path, Access::kProject,
               [&platform, answer](const Request& request) { return answer(platform, request); });
  };
  add("GET", "/v1/challenges", list_challenges);
  add("GET", "/v1/challenges/{challenge_id}", get_challenge);
  add("GET", "/v1/challenges/{challenge_id}/leaderboard", leaderboard);
  add("POST", "/v1/challenges/{challenge_id}/contributions", submit);
  add("GET", "/v1/challenges/{challenge_id}/contributions", list_contributions);
  add("GET", "/v1/challenges/{challenge_id}/contributions/{contribution_id}", get_contribution);
}

}  // namespace finetuned::gateway
