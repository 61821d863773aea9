#include "services/gateway/cost_page.h"

#include <array>
#include <boost/json/serialize.hpp>

#include "base/errors.h"
#include "services/gateway/admin.h"
#include "services/gateway/shapes.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

constexpr std::array kWidths{BucketWidth{"1d", 86400, 7, 180}};

void read_filters(const Request& request, CostPage& page) {
  for (const std::string& group : query_list(request, "group_by")) {
    if (group == "project_id") page.query.by_project = true;
    else if (group == "line_item") page.query.by_line_item = true;
    else if (group == "api_key_id") page.query.by_api_key = true;
    else
      throw base::bad_request("invalid_value", "group_by must be project_id, line_item or api_key_id.", "group_by");
  }
  page.query.project_ids = read_filter(request, "project_ids");
  page.query.api_key_ids = read_filter(request, "api_key_ids");
}

/// `text` as JSON, between the quotes that it needs; or null.
std::string quoted(const std::optional<std::string>& text) { return json::serialize(or_null(text)); }

std::string result_json(const billing::CostSum& sum) {
  const bool itemized = sum.line_item.has_value();
  return R"({"object":"organization.costs.result","amount":{"value":)" + decimal(sum.nano, 9) +
         R"(,"currency":"usd"},"points":")" + sum.points + R"(","line_item":)" + quoted(sum.line_item) + R"(,"project_id":)" + quoted(sum.project_id) +
         R"(,"api_key_id":)" + quoted(sum.api_key_id) + R"(,"quantity":)" + (itemized ? decimal(sum.tokens, 3) : "null") + R"(,"quantity_unit":)" +
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
  CostPage page{read_bucket_page(request, now, kWidths), {}};
  page.query.start = page.from;
  page.query.end = page.until;
  read_filters(request, page);
  return page;
}

std::string cost_page_json(const CostPage& page, const std::vector<billing::CostSum>& sums) {
  std::string text = R"({"object":"page","data":[)";
  auto sum = sums.begin();
  for (const std::int64_t start : page.starts) {
    if (start != page.starts.front()) text += ',';
    text += R"({"object":"bucket","start_time":)" + std::to_string(start) + R"(,"end_time":)" +
            std::to_string(page.end_of(start)) + R"(,"results":[)";
    for (bool first = true; sum != sums.end() && sum->day == page.slot_of(start); ++sum, first = false)
      text += (first ? "" : ",") + result_json(*sum);
    text += "]}";
  }
  text += std::string(R"(],"has_more":)") + (page.has_more ? "true" : "false") + R"(,"next_page":)";
  text += quoted(page.next_page());
  return text + "}";
}

}  // namespace finetuned::gateway
