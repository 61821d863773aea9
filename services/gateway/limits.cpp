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

/// What is said of a rule: whose it is, "key" and "key-...", which lives as long.
struct Limit {
  const char* kind = "";
  std::string_view whose = {};
  bool tokens = false;
};

/// Rules, and what is said of each.
struct Limits {
  std::vector<RateLimitRule> rules = {};
  std::vector<Limit> limits = {};
  void add(RateLimitRule rule, Limit limit) {
    rules.push_back(std::move(rule));
    limits.push_back(limit);
  }
};

std::string words_of(const Limit& limit) {
  const std::string mark = limit.kind == kModel ? "`" : "";
  return limit.kind + (" " + mark) + std::string(limit.whose) + mark;
}

std::string unit_of(const RateLimitRule& rule, const Limit& limit) {
  if (limit.tokens) return "tokens per min (TPM)";
  return rule.window == kDay ? "requests per day (RPD)" : "requests per min (RPM)";
}

base::ApiError refusal(const RateLimitRule& rule, const Limit& limit, const RateView& view, const Request& request, std::int64_t amount,
                       milliseconds retry) {
  const bool never = amount > view.limit;
  std::string text = (never ? "Request too large for " : "Rate limit reached for ") + words_of(limit) + " in organization " +
                     request.principal.organization_id + " on " + unit_of(rule, limit) + ": Limit " + std::to_string(view.limit);
  if (!never) text += ", Used " + std::to_string(view.limit - view.remaining);
  text += ", Requested " + std::to_string(amount) + ". ";
  text += never ? "An administrator can raise the limit." : "Please try again in " + rate_duration(retry) + ".";
  base::ApiError error(429, limit.tokens ? "tokens" : "requests", "rate_limit_exceeded", text, std::nullopt, !never);
  if (!never) error.retry_after = retry;
  return error;
}

/// Tells the request of its limits. Throws ApiError 429 where one refused.
void heed(const RateOutcome& outcome, const Limits& limits, const Request& request, std::int64_t amount) {
  for (std::size_t i = 0; i < limits.limits.size(); ++i)
    narrow(limits.limits[i].tokens ? request.rates.tokens : request.rates.requests, outcome.views[i]);
  if (!outcome.refused) return;
  request.rates.refused = true;
  const std::size_t at = *outcome.refused;
  throw refusal(limits.rules[at], limits.limits[at], outcome.views[at], request, amount, outcome.retry);
}

void take(RateLimiter& limiter, const Limits& limits, const Request& request, std::int64_t amount) {
  if (!limits.rules.empty()) heed(limiter.take(limits.rules, amount), limits, request, amount);
}

Limits project_tokens(const DoorRates& rates, const std::string& project) {
  Limits limits;
  limits.add({"tokens:" + project, rates.tokens_per_project, kMinute}, {"project", project, true});
  return limits;
}

std::optional<storage::RateLimit> limits_of(const Platform& platform, const std::string& project, const std::string& model) {
  return platform.database.transact(postgres::Scope::project(project), [&](postgres::Transaction& tx) {
    return storage::RateLimitStore(tx, project).find(model);
  });
}

void add_model_limit(Limits& limits, const std::string& project, const std::string& model, const char* what, std::int64_t capacity,
                     milliseconds window, bool tokens) {
  limits.add({std::string(what) + ":" + project + ":" + model, capacity, window}, {kModel, model, tokens});
}

/// Of a minute and of a day; none where there is no such model.
Limits request_limits(const std::optional<storage::RateLimit>& row, const std::string& project, const std::string& model) {
  Limits limits;
  if (!row) return limits;
  if (const auto& most = row->limits[kRequestsPerMinute])
    add_model_limit(limits, project, model, "requests", *most, kMinute, false);
  if (const auto& most = row->limits[kRequestsPerDay])
    add_model_limit(limits, project, model, "daily", *most, kDay, false);
  return limits;
}

Limits door_limits(const DoorRates& rates, const Principal& who) {
  Limits limits;
  limits.rules.reserve(2);
  limits.limits.reserve(2);
  limits.add({"key:" + who.key_id, rates.requests_per_key, kMinute}, {"key", who.key_id});
  if (!who.project_id.empty())
    limits.add({"project:" + who.project_id, rates.requests_per_project, kMinute}, {"project", who.project_id});
  return limits;
}

void see_tokens(RateLimiter& limiter, const DoorRates& rates, const Request& request) {
  const std::string& project = request.principal.project_id;
  if (!project.empty()) take(limiter, project_tokens(rates, project), request, 0);
}

}  // namespace

void take_request(RateLimiter& limiter, const DoorRates& rates, Request& request) {
  see_tokens(limiter, rates, request);
  take(limiter, door_limits(rates, request.principal), request, 1);
}

bool take_request_at_once(RateLimiter& limiter, const DoorRates& rates, Request& request) {
  const Limits limits = door_limits(rates, request.principal);
  const auto outcome = limiter.take_at_once(limits.rules, 1);
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
  Limits limits = project_tokens(platform.rates, project);
  if (row && row->limits[kTokensPerMinute])
    add_model_limit(limits, project, model, "tokens", *row->limits[kTokensPerMinute], kMinute, true);
  take(platform.limiter, limits, request, tokens);
  TakenTokens taken(platform.limiter, std::move(limits.rules), tokens);  // given back where the next one refuses
  take(platform.limiter, request_limits(row, project, model), request, 1);
  return taken;
}

void TakenTokens::settle(std::int64_t used) {
  if (RateLimiter* const limiter = std::exchange(limiter_, nullptr)) limiter->settle(rules_, used - amount_);
}

}  // namespace finetuned::gateway
