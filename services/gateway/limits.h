#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "services/gateway/http.h"
#include "services/gateway/platform.h"
#include "services/gateway/rate_limiter.h"
#include "storage/rate_limit_store.h"

namespace finetuned::gateway {

/// Counts an authenticated request against its key and its project, and notes in `request.rates` how they stand (both
/// of which a refused request's answer says as well). Throws ApiError 429 `rate_limit_exceeded` with the time to wait.
void take_request(RateLimiter& limiter, const DoorRates& rates, Request& request);

/// The same without blocking. False: Redis has to be asked, nothing is counted.
bool take_request_at_once(RateLimiter& limiter, const DoorRates& rates, Request& request);

/// Counts one request that makes a model work (a job's creation, a completion) against the project's limits of that
/// base model, of a minute and of a day; POST .../rate_limits changes them at once. A model without limits passes: that
/// it doesn't exist is its caller's to say. Throws ApiError 429, and 503 without the database.
void take_model_request(const Platform& platform, const Request& request, const std::string& model);
/// The same where the project's row of that model has been read already; empty: there is no such model.
void take_model_request(const Platform& platform, const Request& request, const std::string& model,
                        const std::optional<storage::RateLimit>& row);

/// Tokens that were counted before it was known how many there would be. Settles as unused where nobody says otherwise.
class TakenTokens {
 public:
  TakenTokens(RateLimiter& limiter, std::vector<RateLimitRule> rules, std::int64_t amount)
      : limiter_(&limiter), rules_(std::move(rules)), amount_(amount) {}
  TakenTokens(TakenTokens&& other) noexcept
      : limiter_(std::exchange(other.limiter_, nullptr)), rules_(std::move(other.rules_)), amount_(other.amount_) {}
  TakenTokens& operator=(TakenTokens&&) = delete;
  ~TakenTokens() { settle(0); }

  /// So many it were. Once.
  void settle(std::int64_t used);

 private:
  RateLimiter* limiter_;
  std::vector<RateLimitRule> rules_;
  std::int64_t amount_;
};

/// Counts an answer of a model whose base is `model`: as take_model_request does, and `tokens`, what its prompt has and the
/// answer may come to, against the model's limit of a minute and the project's own. More than the whole of a limit is
/// refused as not worth repeating. A refused one counts nowhere.
TakenTokens take_generation(const Platform& platform, const Request& request, const std::string& model, std::int64_t tokens);

}  // namespace finetuned::gateway
