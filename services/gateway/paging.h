#pragma once

#include "base/json.h"
#include "services/gateway/http.h"
#include "storage/page.h"

namespace finetuned::gateway {

/// Reads `after`, `limit` (1..most) and `order` (`asc`, `desc`; newest first without it). Throws ApiError 400
/// `invalid_value` naming the parameter.
storage::PageRequest page_request(const Request& request, int default_limit, int most);

/// How a list pages where the specification says it differently.
struct ListRules {
  int default_limit = 20;
  int most = 100;
  int least = 1;
  bool ascending = false;    ///< without `order`
  bool whole_words = false;  ///< `order` is `ascending` or `descending`
  bool with_before = false;  ///< reads `before` as well; with `after` at once it is refused
};
storage::PageRequest page_request(const Request& request, const ListRules& rules);

/// OpenAI's cursor list: {"object":"list","data","has_more","first_id","last_id"}; the ids are null for an empty page.
template <class T, class Shape>
base::json::object cursor_list(const storage::Page<T>& page, Shape shape) {
  base::json::array data;
  for (const T& one : page.data) data.push_back(shape(one));
  base::json::object list;
  list["object"] = "list";
  list["first_id"] = data.empty() ? base::json::value(nullptr) : data.front().at("id");
  list["last_id"] = data.empty() ? base::json::value(nullptr) : data.back().at("id");
  list["data"] = std::move(data);
  list["has_more"] = page.has_more;
  return list;
}

}  // namespace finetuned::gateway
