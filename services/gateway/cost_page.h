#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "billing/costs.h"
#include "services/gateway/bucket_page.h"
#include "services/gateway/http.h"

namespace finetuned::gateway {

/// A page of days of GET /v1/organization/costs.
struct CostPage : BucketPage {
  billing::CostQuery query;  ///< of this page's days
};

/// Reads `start_time`, `end_time` (without it: the end of the day that `now` is in), `bucket_width` (`1d`), `group_by`,
/// `project_ids`, `api_key_ids`, `limit` (1..180, 7 without it) and `page`. Throws ApiError 400.
CostPage read_cost_page(const Request& request, std::int64_t now);

/// OpenAI's page of buckets as JSON text: amounts are numbers of dollars with every digit, which no double has.
std::string cost_page_json(const CostPage& page, const std::vector<billing::CostSum>& sums);

/// `digits` / 10^places as a JSON number: `("1500", 3)` is `1.5`. The digits are a whole number, not negative.
std::string decimal(std::string digits, std::size_t places);

}  // namespace finetuned::gateway
