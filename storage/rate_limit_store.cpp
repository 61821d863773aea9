#include "storage/rate_limit_store.h"

#include "storage/cursor.h"

namespace finetuned::storage {

namespace {

constexpr char kColumns[] =
    "base_model.name AS model, max_requests_per_1_minute, max_tokens_per_1_minute, max_images_per_1_minute,"
    " max_audio_megabytes_per_1_minute, max_requests_per_1_day, batch_1_day_max_input_tokens";
constexpr char kFrom[] = "base_model LEFT JOIN rate_limit ON rate_limit.model = base_model.name AND rate_limit.project_id = $1";

RateLimit read_limit(const postgres::Row& row) {
  RateLimit limit;
  limit.model = row.text("model");
  for (std::size_t i = 0; i < kRateLimitNames.size(); ++i) limit.limits[i] = row.maybe_integer(kRateLimitNames[i]);
  limit.limits[0] = limit.limits[0].value_or(kDefaultRequestsPerMinute);
  limit.limits[1] = limit.limits[1].value_or(kDefaultTokensPerMinute);
  return limit;
}

}  // namespace

std::optional<RateLimit> RateLimitStore::find(const std::string& model) {
  const auto rows = tx_.execute(std::string("SELECT ") + kColumns + " FROM " + kFrom + " WHERE base_model.name = $2",
                                {project_, model});
  if (rows.empty()) return std::nullopt;
  return read_limit(rows.row(0));
}

Page<RateLimit> RateLimitStore::list(const PageRequest& request) {
  return read_listing(tx_, request,
                      {.table = "base_model", .key = "name", .columns = kColumns, .from = kFrom, .owner = "true",
                       .shown = "", .owner_values = {project_}},
                      read_limit);
}

std::optional<RateLimit> RateLimitStore::update(const std::string& model, const RateLimits& changes) {
  if (!find(model)) return std::nullopt;
  tx_.execute(
      "INSERT INTO rate_limit AS own (project_id, model, max_requests_per_1_minute, max_tokens_per_1_minute,"
      " max_images_per_1_minute, max_audio_megabytes_per_1_minute, max_requests_per_1_day, batch_1_day_max_input_tokens)"
      " VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (project_id, model) DO UPDATE SET"
      " max_requests_per_1_minute = coalesce(excluded.max_requests_per_1_minute, own.max_requests_per_1_minute),"
      " max_tokens_per_1_minute = coalesce(excluded.max_tokens_per_1_minute, own.max_tokens_per_1_minute),"
      " max_images_per_1_minute = coalesce(excluded.max_images_per_1_minute, own.max_images_per_1_minute),"
      " max_audio_megabytes_per_1_minute ="
      "  coalesce(excluded.max_audio_megabytes_per_1_minute, own.max_audio_megabytes_per_1_minute),"
      " max_requests_per_1_day = coalesce(excluded.max_requests_per_1_day, own.max_requests_per_1_day),"
      " batch_1_day_max_input_tokens = coalesce(excluded.batch_1_day_max_input_tokens, own.batch_1_day_max_input_tokens),"
      " updated_at = clock_timestamp()",
      {project_, model, changes[0], changes[1], changes[2], changes[3], changes[4], changes[5]});
  return find(model);
}

}  // namespace finetuned::storage
