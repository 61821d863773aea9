#include "services/gateway/paging.h"

#include <charconv>

#include "base/errors.h"

namespace finetuned::gateway {

storage::PageRequest page_request(const Request& request, int default_limit, int most) {
  return page_request(request, ListRules{.default_limit = default_limit, .most = most});
}

storage::PageRequest page_request(const Request& request, const ListRules& rules) {
  storage::PageRequest page;
  page.limit = rules.default_limit;
  page.ascending = rules.ascending;
  if (const auto after = request.query_value("after"); after && !after->empty()) page.after = std::string(*after);
  if (const auto limit = request.query_value("limit")) {
    const auto [end, error] = std::from_chars(limit->data(), limit->data() + limit->size(), page.limit);
    if (error != std::errc() || end != limit->data() + limit->size() || page.limit < rules.least ||
        page.limit > rules.most)
      throw base::bad_request("invalid_value", "limit must be an integer from " + std::to_string(rules.least) + " to " +
                                                   std::to_string(rules.most) + ".", "limit");
  }
  if (const auto before = request.query_value("before"); rules.with_before && before && !before->empty()) {
    if (page.after) throw base::bad_request("invalid_value", "Give after or before, not both.", "before");
    page.before = std::string(*before);
  }
  if (const auto order = request.query_value("order")) {
    const std::string up = rules.whole_words ? "ascending" : "asc", down = rules.whole_words ? "descending" : "desc";
    if (*order != up && *order != down)
      throw base::bad_request("invalid_value", "order must be " + up + " or " + down + ".", "order");
    page.ascending = *order == up;
  }
  return page;
}

}  // namespace finetuned::gateway
