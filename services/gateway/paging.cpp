#include "services/gateway/paging.h"

#include <charconv>

#include "base/errors.h"

namespace finetuned::gateway {

storage::PageRequest page_request(const Request& request, int default_limit, int most) {
  storage::PageRequest page;
  page.limit = default_limit;
  if (const auto after = request.query_value("after"); after && !after->empty()) page.after = std::string(*after);
  if (const auto limit = request.query_value("limit")) {
    const auto [end, error] = std::from_chars(limit->data(), limit->data() + limit->size(), page.limit);
    if (error != std::errc() || end != limit->data() + limit->size() || page.limit < 1 || page.limit > most)
      throw base::bad_request("invalid_value", "limit must be an integer from 1 to " + std::to_string(most) + ".", "limit");
  }
  if (const auto order = request.query_value("order")) {
    if (*order != "asc" && *order != "desc")
      throw base::bad_request("invalid_value", "order must be asc or desc.", "order");
    page.ascending = *order == "asc";
  }
  return page;
}

}  // namespace finetuned::gateway
