#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// Reads one page of a table that has a growing `seq`. `select` is a SELECT with a WHERE and without ORDER BY, using
/// `values` as $1..$n; `key` is the column that `request.after` names a row by. Throws ApiError 400 `invalid_cursor`.
template <class Map>
auto read_page(postgres::Transaction& tx, const PageRequest& request, const std::string& table, const std::string& key,
               std::string select, std::vector<postgres::Value> values, Map map) {
  using T = decltype(map(std::declval<postgres::Row>()));
  if (request.after) {
    const auto found = tx.execute("SELECT seq FROM " + table + " WHERE " + key + " = $1", {*request.after});
    if (found.empty())
      throw base::bad_request("invalid_cursor", "No object '" + *request.after + "' to list after.", "after");
    values.emplace_back(found.row(0).integer("seq"));
    select += std::string(" AND ") + table + ".seq " + (request.ascending ? ">" : "<") + " $" +
              std::to_string(values.size());
  }
  values.emplace_back(request.limit + 1);
  select += " ORDER BY " + table + ".seq " + (request.ascending ? "ASC" : "DESC") + " LIMIT $" +
            std::to_string(values.size());
  const auto rows = tx.execute(select, values);
  Page<T> page;
  page.has_more = rows.size() > static_cast<std::size_t>(request.limit);
  for (std::size_t i = 0; i < rows.size() && i < static_cast<std::size_t>(request.limit); ++i)
    page.data.push_back(map(rows.row(i)));
  return page;
}

}  // namespace finetuned::storage
