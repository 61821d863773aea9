#include "services/gateway/limits.h"

#include <optional>

#include "base/errors.h"
#include "storage/postgres/pool.h"
#include "storage/rate_limit_store.h"

namespace finetuned::gateway {

namespace {

using std::chrono::milliseconds;

constexpr const char* kModel = "model";
constexpr milliseconds kMinute{60'000}, kDay{86'400'000};
constexpr std::size_t kRequestsPerMinute = 0, kTokensPerMinute = 1, kRequestsPerDay = 4;  // of storage::kRateLimitNames

/// A rule and whose it is, "key" and "key-...", which lives as long.
struct Limit {
  RateLimitRule rule;
  const char* kind = "";
  std::string_view whose = {};
  bool tokens = false;
};

std::string words_of(const Limit& limit) {
  const std::string mark = limit.kind == kModel ? "`" : "";
  return limit.kind + (" " + mark) + std::string(limit.whose) + mark;
}

std::string unit_of(const Limit& limit) {
  if (limit.tokens) return "tokens per min (TPM)";
  return limit.rule.window == kDay ? "requests per day (RPD)" : "requests per min (RPM)";
}

base::ApiError refusal(const Limit& limit, const RateView& view, const Request& request, std::int64_t amount,
                       milliseconds retry) {
  const bool never = amount > view.limit;
  std::string text = (never ? "Request too large for " : "Rate limit reached for ") + words_of(limit) + " in organization " +
                     request.principal.organization_id + " on " + unit_of(limit) + ": Limit " + std::to_string(view.limit);
  if (!never) text += ", Used " + std::to_string(view.limit - view.remaining);
  text += ", Requested " + std::to_string(amount) + ". ";
  text += never ? "An administrator can raise the limit." : "Please try again in " + rate_duration(retry) + ".";
  base::ApiError error(429, limit.tokens ? "tokens" : "requests", "rate_limit_exceeded", text, std::nullopt, !never);
  if (!never) error.retry_after = retry;
  return error;
}

std::vector<RateLimitRule> rules_of(const std::vector<Limit>& limits) {
  std::vector<RateLimitRule> rules;
  rules.reserve(limits.size());
  for (const Limit& limit : limits) rules.push_back(limit.rule);
  return rules;
}

/// Tells the request of its limits. Throws ApiError 429 where one refused.
void heed(const RateOutcome& outcome, const std::vector<Limit>& limits, const Request& request, std::int64_t amount) {
  for (std::size_t i = 0; i < limits.size(); ++i)
    narrow(limits[i].tokens ? request.rates.tokens : request.rates.requests, outcome.views[i]);
  if (!outcome.refused) return;
  request.rates.refused = true;
  const std::size_t at = *outcome.refused;
  throw refusal(limits[at], outcome.views[at], request, amount, outcome.retry);
}

void take(RateLimiter& limiter, const std::vector<Limit>& limits, const Request& request, std::int64_t amount) {
  if (!limits.empty()) heed(limiter.take(rules_of(limits), amount), limits, request, amount);
}

Limit project_tokens(const DoorRates& rates, const std::string& project) {
  return {{"tokens:" + project, rates.tokens_per_project, kMinute}, "project", project, true};
}

std::optional<storage::RateLimit> limits_of(const Platform& platform, const std::string& project, const std::string& model) {
  return platform.database.transact(postgres::Scope::project(project), [&](postgres::Transaction& tx) {
    return storage::RateLimitStore(tx, project).find(model);
  });
}

Limit model_limit(const std::string& project, const std::string& model, const char* what, std::int64_t capacity,
                  milliseconds window, bool tokens) {
  return {{std::string(what) + ":" + project + ":" + model, capacity, window}, kModel, model, tokens};
}

/// Of a minute and of a day; none where there is no such model.
std::vector<Limit> request_limits(const std::optional<storage::RateLimit>& row, const std::string& project, const std::string& model) {
  std::vector<Limit> limits;
  if (!row) return limits;
  if (const auto& most = row->limits[kRequestsPerMinute])
    limits.push_back(model_limit(project, model, "requests", *most, kMinute, false));
  if (const auto& most = row->limits[kRequestsPerDay])
    limits.push_back(model_limit(project, model, "daily", *most, kDay, false));
  return limits;
}

std::vector<Limit> door_limits(const DoorRates& rates, const Principal& who) {
  std::vector<Limit> limits;
  limits.reserve(2);
  limits.push_back({{"key:" + who.key_id, rates.requests_per_key, kMinute}, "key", who.key_id});
  if (!who.project_id.empty())
    limits.push_back({{"project:" + who.project_id, rates.requests_per_project, kMinute}, "project", who.project_id});
  return limits;
}

void see_tokens(RateLimiter& limiter, const DoorRates& rates, const Request& request) {
  const std::string& project = request.principal.project_id;
  if (!project.empty()) take(limiter, {project_tokens(rates, project)}, request, 0);
}

}  // namespace

void take_request(RateLimiter& limiter, const DoorRates& rates, Request& request) {
  see_tokens(limiter, rates, request);
  take(limiter, door_limits(rates, request.principal), request, 1);
}

bool take_request_at_once(RateLimiter& limiter, const DoorRates& rates, Request& request) {
  const auto limits = door_limits(rates, request.principal);
  const auto outcome = limiter.take_at_once(rules_of(limits), 1);
  if (!outcome) return false;
  see_tokens(limiter, rates, request);
  heed(*outcome, limits, request, 1);
  return true;
}

void take_model_request(const Platform& platform, const Request& request, const std::string& model) {
  take_model_request(platform, request, model, limits_of(platform, request.principal.project_id, model));
}

void take_model_request(const Platform& platform, const Request& request, const std::string& model,
                        const std::optional<storage::RateLimit>& row) {
  take(platform.limiter, request_limits(row, request.principal.project_id, model), request, 1);
}

TakenTokens take_generation(const Platform& platform, const Request& request, const std::string& model, std::int64_t tokens) {
  const std::string& project = request.principal.project_id;
  const auto row = limits_of(platform, project, model);
  std::vector<Limit> limits{project_tokens(platform.rates, project)};
  if (row && row->limits[kTokensPerMinute])
    limits.push_back(model_limit(project, model, "tokens", *row->limits[kTokensPerMinute], kMinute, true));
  take(platform.limiter, limits, request, tokens);
  TakenTokens taken(platform.limiter, rules_of(limits), tokens);  // given back where the next one refuses
  take(platform.limiter, request_limits(row, project, model), request, 1);
  return taken;
}

void TakenTokens::settle(std::int64_t used) {
  if (RateLimiter* const limiter = std::exchange(limiter_, nullptr)) limiter->settle(rules_, used - amount_);
}

}  // namespace finetuned::gateway
