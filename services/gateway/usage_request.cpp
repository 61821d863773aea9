#include "services/gateway/usage_request.h"

#include <array>

#include "base/errors.h"
#include "services/gateway/admin.h"
#include "services/gateway/shapes.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

constexpr std::array kWidths{BucketWidth{"1d", 86400, 7, 31}, BucketWidth{"1h", 3600, 24, 168}, BucketWidth{"1m", 60, 60, 1440}};

void read_groups(const Request& request, storage::UsageQuery& query) {
  for (const std::string& group : query_list(request, "group_by")) {
    if (group == "project_id") query.by_project = true;
    else if (group == "api_key_id") query.by_api_key = true;
    else if (group == "model") query.by_model = true;
    else if (group != "user_id" && group != "batch" && group != "service_tier")
      throw base::bad_request("invalid_value", "group_by must be project_id, user_id, api_key_id, model, batch or service_tier.",
                              "group_by");
  }
}

json::object result_shape(const storage::UsageSum& sum) {
  json::object shape;
  shape["object"] = "organization.usage.completions.result";
  shape["input_tokens"] = sum.prompt_tokens;
  shape["output_tokens"] = sum.completion_tokens;
  shape["num_model_requests"] = sum.requests;
  shape["input_cached_tokens"] = 0;
  shape["input_audio_tokens"] = 0;
  shape["output_audio_tokens"] = 0;
  shape["project_id"] = or_null(sum.project_id);
  shape["user_id"] = nullptr;
  shape["api_key_id"] = or_null(sum.api_key_id);
  shape["model"] = or_null(sum.model);
  shape["batch"] = nullptr;
  shape["service_tier"] = nullptr;
  return shape;
}

}  // namespace

UsagePage read_usage_page(const Request& request, std::int64_t now) {
  UsagePage page{read_bucket_page(request, now, kWidths), {}};
  page.query.bucket_seconds = page.width;
  page.query.start = page.from;
  page.query.end = page.until;
  read_groups(request, page.query);
  page.query.project_ids = read_filter(request, "project_ids");
  page.query.api_key_ids = read_filter(request, "api_key_ids");
  page.query.models = read_filter(request, "models");
  page.nothing = !query_list(request, "user_ids").empty() || query_flag(request, "batch");
  return page;
}

json::object usage_page_shape(const UsagePage& page, const std::vector<storage::UsageSum>& sums) {
  json::array buckets;
  auto sum = sums.begin();
  for (const std::int64_t start : page.starts) {
    json::object bucket;
    bucket["object"] = "bucket";
    bucket["start_time"] = start;
    bucket["end_time"] = page.end_of(start);
    json::array& results = (bucket["results"] = json::array()).as_array();
    for (; sum != sums.end() && sum->bucket == page.slot_of(start); ++sum) results.push_back(result_shape(*sum));
    buckets.push_back(std::move(bucket));
  }
  json::object shape;
  shape["object"] = "page";
  shape["data"] = std::move(buckets);
  shape["has_more"] = page.has_more;
  shape["next_page"] = or_null(page.next_page());
  return shape;
}

}  // namespace finetuned::gateway
