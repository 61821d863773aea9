#include "services/gateway/usage_request.h"

#include <algorithm>
#include <array>
#include <charconv>

#include "base/errors.h"
#include "services/gateway/admin.h"
#include "services/gateway/shapes.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

constexpr std::int64_t kMostSecond = 100'000'000'000;  // far beyond any row, well within a timestamp
constexpr std::size_t kMostFilters = 100;
constexpr std::string_view kCursor = "page_";  // and the Unix time that the page begins at

struct Width {
  std::string_view name;
  std::int64_t seconds;
  std::int64_t default_limit, most;
};
constexpr std::array kWidths{Width{"1d", 86400, 7, 31}, Width{"1h", 3600, 24, 168}, Width{"1m", 60, 60, 1440}};

[[noreturn]] void refuse(const std::string& param, const std::string& why) {
  throw base::bad_request("invalid_value", param + " " + why + ".", param);
}

std::optional<std::int64_t> integer(std::string_view text, std::int64_t least, std::int64_t most) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < least || number > most) return std::nullopt;
  return number;
}

std::optional<std::int64_t> time_of(const Request& request, const char* name) {
  const auto text = request.query_value(name);
  if (!text) return std::nullopt;
  const auto second = integer(*text, 0, kMostSecond);
  if (!second) refuse(name, "must be a Unix time in seconds");
  return second;
}

const Width& width_of(const Request& request) {
  const auto name = request.query_value("bucket_width").value_or("1d");
  const auto found = std::find_if(kWidths.begin(), kWidths.end(), [&](const Width& width) { return width.name == name; });
  if (found == kWidths.end()) refuse("bucket_width", "must be 1m, 1h or 1d");
  return *found;
}

std::vector<std::string> filter(const Request& request, const char* name) {
  auto values = query_list(request, name);
  if (values.size() > kMostFilters) refuse(name, "must have at most " + std::to_string(kMostFilters) + " values");
  return values;
}

void read_groups(const Request& request, storage::UsageQuery& query) {
  for (const std::string& group : query_list(request, "group_by")) {
    if (group == "project_id") query.by_project = true;
    else if (group == "api_key_id") query.by_api_key = true;
    else if (group == "model") query.by_model = true;
    else if (group != "user_id" && group != "batch" && group != "service_tier")
      refuse("group_by", "must be project_id, user_id, api_key_id, model, batch or service_tier");
  }
}

std::int64_t bucket_of(std::int64_t second, std::int64_t width) { return second - second % width; }

/// Where the page begins: at start_time, or at the bucket that its cursor names.
std::int64_t page_start(const Request& request, std::int64_t start, std::int64_t end, std::int64_t width) {
  const auto cursor = request.query_value("page");
  if (!cursor || cursor->empty()) return start;
  const auto second = cursor->starts_with(kCursor) ? integer(cursor->substr(kCursor.size()), start, end - 1) : std::nullopt;
  if (!second || *second % width != 0) throw base::bad_request("invalid_cursor", "No such page: " + std::string(*cursor), "page");
  return *second;
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
  const auto start = time_of(request, "start_time");
  if (!start) throw base::bad_request("missing_required_parameter", "Missing required parameter: start_time.", "start_time");
  const Width& width = width_of(request);
  const auto end = time_of(request, "end_time").value_or(bucket_of(std::max(*start, now), width.seconds) + width.seconds);
  if (end <= *start) refuse("end_time", "must be later than start_time");
  std::int64_t limit = width.default_limit;
  if (const auto text = request.query_value("limit")) {
    const auto asked = integer(*text, 1, width.most);
    if (!asked) refuse("limit", "must be an integer from 1 to " + std::to_string(width.most) + " for buckets of this width");
    limit = *asked;
  }
  UsagePage page;
  page.query.bucket_seconds = width.seconds;
  page.query.start = page_start(request, *start, end, width.seconds);
  std::int64_t next = page.query.start;
  for (std::int64_t i = 0; i < limit && next < end; ++i) {
    page.starts.push_back(next);
    next = bucket_of(next, width.seconds) + width.seconds;
  }
  page.query.end = std::min(next, end);
  page.has_more = next < end;
  read_groups(request, page.query);
  page.query.project_ids = filter(request, "project_ids");
  page.query.api_key_ids = filter(request, "api_key_ids");
  page.query.models = filter(request, "models");
  page.nothing = !query_list(request, "user_ids").empty() || query_flag(request, "batch");
  return page;
}

json::object usage_page_shape(const UsagePage& page, const std::vector<storage::UsageSum>& sums) {
  const std::int64_t width = page.query.bucket_seconds;
  json::array buckets;
  auto sum = sums.begin();
  for (const std::int64_t start : page.starts) {
    json::object bucket;
    bucket["object"] = "bucket";
    bucket["start_time"] = start;
    bucket["end_time"] = std::min(bucket_of(start, width) + width, page.query.end);
    json::array& results = (bucket["results"] = json::array()).as_array();
    for (; sum != sums.end() && sum->bucket == bucket_of(start, width); ++sum) results.push_back(result_shape(*sum));
    buckets.push_back(std::move(bucket));
  }
  json::object shape;
  shape["object"] = "page";
  shape["data"] = std::move(buckets);
  shape["has_more"] = page.has_more;
  shape["next_page"] = page.has_more ? json::value(std::string(kCursor) + std::to_string(page.query.end)) : json::value(nullptr);
  return shape;
}

}  // namespace finetuned::gateway
