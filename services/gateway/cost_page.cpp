#include "services/gateway/cost_page.h"

#include <algorithm>
#include <charconv>

#include <boost/json/serialize.hpp>

#include "base/errors.h"
#include "services/gateway/admin.h"
#include "services/gateway/shapes.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

constexpr std::int64_t kDay = 86400;
constexpr std::int64_t kDefaultDays = 7, kMostDays = 180;
constexpr std::int64_t kMostSecond = 100'000'000'000;  // far beyond any row, well within a timestamp
constexpr std::size_t kMostFilters = 100;
constexpr std::string_view kCursor = "page_";  // and the Unix time that the page begins at

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

std::int64_t day_of(std::int64_t second) { return second - second % kDay; }

/// Where the page begins: at start_time, or at the day that its cursor names.
std::int64_t page_start(const Request& request, std::int64_t start, std::int64_t end) {
  const auto cursor = request.query_value("page");
  if (!cursor || cursor->empty()) return start;
  const auto second = cursor->starts_with(kCursor) ? integer(cursor->substr(kCursor.size()), start, end - 1) : std::nullopt;
  if (!second || *second % kDay != 0) throw base::bad_request("invalid_cursor", "No such page: " + std::string(*cursor), "page");
  return *second;
}

void read_filters(const Request& request, CostPage& page) {
  for (const std::string& group : query_list(request, "group_by")) {
    if (group == "project_id") page.query.by_project = true;
    else if (group == "line_item") page.query.by_line_item = true;
    else if (group != "api_key_id") refuse("group_by", "must be project_id, line_item or api_key_id");
  }
  page.query.project_ids = query_list(request, "project_ids");
  if (page.query.project_ids.size() > kMostFilters)
    refuse("project_ids", "must have at most " + std::to_string(kMostFilters) + " values");
  page.nothing = !query_list(request, "api_key_ids").empty();
}

/// `text` as JSON, between the quotes that it needs; or null.
std::string quoted(const std::optional<std::string>& text) { return json::serialize(or_null(text)); }

std::string result_json(const billing::CostSum& sum) {
  const bool itemized = sum.line_item.has_value();
  return R"({"object":"organization.costs.result","amount":{"value":)" + decimal(sum.nano, 9) +
         R"(,"currency":"usd"},"line_item":)" + quoted(sum.line_item) + R"(,"project_id":)" + quoted(sum.project_id) +
         R"(,"api_key_id":null,"quantity":)" + (itemized ? decimal(sum.tokens, 3) : "null") + R"(,"quantity_unit":)" +
         (itemized ? R"("1000_tokens")" : "null") + "}";
}

}  // namespace

std::string decimal(std::string digits, std::size_t places) {
  if (digits.size() <= places) digits.insert(0, places + 1 - digits.size(), '0');
  digits.insert(digits.size() - places, ".");
  digits.erase(digits.find_last_not_of('0') + 1);
  if (digits.ends_with('.')) digits.pop_back();
  return digits;
}

CostPage read_cost_page(const Request& request, std::int64_t now) {
  const auto start = time_of(request, "start_time");
  if (!start) throw base::bad_request("missing_required_parameter", "Missing required parameter: start_time.", "start_time");
  if (request.query_value("bucket_width").value_or("1d") != "1d") refuse("bucket_width", "must be 1d");
  const auto end = time_of(request, "end_time").value_or(day_of(std::max(*start, now)) + kDay);
  if (end <= *start) refuse("end_time", "must be later than start_time");
  std::int64_t limit = kDefaultDays;
  if (const auto text = request.query_value("limit")) {
    const auto asked = integer(*text, 1, kMostDays);
    if (!asked) refuse("limit", "must be an integer from 1 to " + std::to_string(kMostDays));
    limit = *asked;
  }
  CostPage page;
  page.query.start = page_start(request, *start, end);
  std::int64_t next = page.query.start;
  for (std::int64_t i = 0; i < limit && next < end; ++i) {
    page.starts.push_back(next);
    next = day_of(next) + kDay;
  }
  page.query.end = std::min(next, end);
  page.has_more = next < end;
  read_filters(request, page);
  return page;
}

std::string cost_page_json(const CostPage& page, const std::vector<billing::CostSum>& sums) {
  std::string text = R"({"object":"page","data":[)";
  auto sum = sums.begin();
  for (const std::int64_t start : page.starts) {
    if (start != page.starts.front()) text += ',';
    text += R"({"object":"bucket","start_time":)" + std::to_string(start) + R"(,"end_time":)" +
            std::to_string(std::min(day_of(start) + kDay, page.query.end)) + R"(,"results":[)";
    for (bool first = true; sum != sums.end() && sum->day == day_of(start); ++sum, first = false)
      text += (first ? "" : ",") + result_json(*sum);
    text += "]}";
  }
  text += std::string(R"(],"has_more":)") + (page.has_more ? "true" : "false") + R"(,"next_page":)";
  text += page.has_more ? "\"" + std::string(kCursor) + std::to_string(page.query.end) + "\"" : "null";
  return text + "}";
}

}  // namespace finetuned::gateway
