#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// What a model allows a project where nothing else has been set.
inline constexpr std::int64_t kDefaultRequestsPerMinute = 600;
inline constexpr std::int64_t kDefaultTokensPerMinute = 1'000'000;

/// The limits that a project may differ in: columns of rate_limit, and the API's names for them.
inline constexpr std::array<const char*, 6> kRateLimitNames = {
    "max_requests_per_1_minute",        "max_tokens_per_1_minute", "max_images_per_1_minute",
    "max_audio_megabytes_per_1_minute", "max_requests_per_1_day",  "batch_1_day_max_input_tokens"};

/// One value a name, in the order of kRateLimitNames.
using RateLimits = std::array<std::optional<std::int64_t>, kRateLimitNames.size()>;

struct RateLimit {
  std::string model;
  RateLimits limits;  ///< the first two are always there
};

/// A project's limits, a row a registered base model. Reading works in the project's own scope as well.
class RateLimitStore {
 public:
  RateLimitStore(postgres::Transaction& tx, std::string project_id) : tx_(tx), project_(std::move(project_id)) {}

  std::optional<RateLimit> find(const std::string& model);
  /// Models in the order of their registration, unless the request says otherwise; cursors are their names.
  Page<RateLimit> list(const PageRequest& request);
  /// What is not given stays. nullopt where there is no such model.
  std::optional<RateLimit> update(const std::string& model, const RateLimits& changes);

 private:
  postgres::Transaction& tx_;
  std::string project_;
};

}  // namespace finetuned::storage
