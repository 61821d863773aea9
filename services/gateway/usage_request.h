#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/json.h"
#include "services/gateway/bucket_page.h"
#include "services/gateway/http.h"
#include "storage/inference_usage_store.h"

namespace finetuned::gateway {

/// A page of buckets of GET /v1/organization/usage/completions.
struct UsagePage : BucketPage {
  storage::UsageQuery query;  ///< of this page's buckets
  bool nothing = false;       ///< asks for what never is here: batches, or a person's requests
};

/// Reads `start_time`, `end_time` (without it: the end of the bucket that `now` is in), `bucket_width` (`1m`, `1h`, `1d`),
/// `group_by`, `project_ids`, `api_key_ids`, `models`, `user_ids`, `batch`, `limit` and `page`. Throws ApiError 400.
UsagePage read_usage_page(const Request& request, std::int64_t now);

/// OpenAI's page of buckets. Of what requests can be grouped by, `user_id`, `batch` and `service_tier` are always null.
base::json::object usage_page_shape(const UsagePage& page, const std::vector<storage::UsageSum>& sums);

}  // namespace finetuned::gateway
