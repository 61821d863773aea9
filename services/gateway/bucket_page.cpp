#include "services/gateway/bucket_page.h"

#include <algorithm>
#include <charconv>

#include "base/errors.h"
#include "services/gateway/admin.h"

namespace finetuned::gateway {

namespace {

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

const BucketWidth& width_of(const Request& request, std::span<const BucketWidth> widths) {
  const auto name = request.query_value("bucket_width").value_or("1d");
  const auto found = std::find_if(widths.begin(), widths.end(), [&](const BucketWidth& width) { return width.name == name; });
  if (found != widths.end()) return *found;
  std::string names;
  for (const BucketWidth& width : widths) names += (names.empty() ? "" : ", ") + std::string(width.name);
  refuse("bucket_width", (widths.size() == 1 ? "must be " : "must be one of ") + names);
}

std::int64_t limit_of(const Request& request, const BucketWidth& width) {
  const auto text = request.query_value("limit");
  if (!text) return width.default_limit;
  const auto asked = integer(*text, 1, width.most);
  if (!asked) refuse("limit", "must be an integer from 1 to " + std::to_string(width.most) + " for buckets of this width");
  return *asked;
}

/// Where the page begins: at start_time, or at the bucket that its cursor names.
std::int64_t page_start(const Request& request, std::int64_t start, std::int64_t end, std::int64_t width) {
  const auto cursor = request.query_value("page");
  if (!cursor || cursor->empty()) return start;
  const auto second = cursor->starts_with(kCursor) ? integer(cursor->substr(kCursor.size()), start, end - 1) : std::nullopt;
  if (!second || *second % width != 0) throw base::bad_request("invalid_cursor", "No such page: " + std::string(*cursor), "page");
  return *second;
}

}  // namespace

std::int64_t BucketPage::end_of(std::int64_t start) const { return std::min(slot_of(start) + width, until); }

std::optional<std::string> BucketPage::next_page() const {
  if (!has_more) return std::nullopt;
  return std::string(kCursor) + std::to_string(until);
}

BucketPage read_bucket_page(const Request& request, std::int64_t now, std::span<const BucketWidth> widths) {
  const auto start = time_of(request, "start_time");
  if (!start) throw base::bad_request("missing_required_parameter", "Missing required parameter: start_time.", "start_time");
  const BucketWidth& width = width_of(request, widths);
  BucketPage page;
  page.width = width.seconds;
  const auto end = time_of(request, "end_time").value_or(page.slot_of(std::max(*start, now)) + page.width);
  if (end <= *start) refuse("end_time", "must be later than start_time");
  const std::int64_t limit = limit_of(request, width);
  page.from = page_start(request, *start, end, page.width);
  std::int64_t next = page.from;
  for (std::int64_t i = 0; i < limit && next < end; ++i) {
    page.starts.push_back(next);
    next = page.slot_of(next) + page.width;
  }
  page.until = std::min(next, end);
  page.has_more = next < end;
  return page;
}

std::vector<std::string> read_filter(const Request& request, const char* name) {
  auto values = query_list(request, name);
  if (values.size() > kMostFilters) refuse(name, "must have at most " + std::to_string(kMostFilters) + " values");
  return values;
}

}  // namespace finetuned::gateway
