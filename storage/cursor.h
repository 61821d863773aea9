#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/errors.h"
#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// Reads one page of a table that has a growing `seq`. `select` is a SELECT with a WHERE and without ORDER BY, using
/// `values` as $1..$n; `key` is the column that `request.after` names a row by, and `owner` the one that says whose list the
/// row is in: $1's (NULL: anyone's). Throws ApiError 400 `invalid_cursor`, for a row of another list as for none.
template <class Map>
auto read_page(postgres::Transaction& tx, const PageRequest& request, const std::string& table, const std::string& key,
               const std::string& owner, std::string select, std::vector<postgres::Value> values, Map map) {
  using T = decltype(map(std::declval<postgres::Row>()));
  if (request.after) {
    const auto found = tx.execute("SELECT seq FROM " + table + " WHERE " + key + " = $1 AND ($2::text IS NULL OR " + owner + " = $2)",
                                  {*request.after, values.at(0)});
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

/// A list whose cursors count only where their row has the same owner, gone or not: no one learns of another's rows,
/// and a page may be read on from a row that has been removed meanwhile.
struct Listing {
  std::string table;    ///< or its alias: has the growing `seq`
  std::string key;      ///< the column of `table` that cursors name a row by
  std::string columns;
  std::string from;
  std::string owner;    ///< a condition on $1..$n: `owner_values`
  std::string shown;    ///< a condition on $n+1.., `shown_values`; empty: all
  std::vector<postgres::Value> owner_values;
  std::vector<postgres::Value> shown_values = {};
};

/// Reads one page. Throws ApiError 400 `invalid_cursor`.
template <class Map>
auto read_listing(postgres::Transaction& tx, const PageRequest& request, const Listing& list, Map map) {
  using T = decltype(map(std::declval<postgres::Row>()));
  const std::string source = " FROM " + list.from + " WHERE (" + list.owner + ")";
  std::vector<postgres::Value> values = list.owner_values;
  values.insert(values.end(), list.shown_values.begin(), list.shown_values.end());
  std::string select = "SELECT " + list.columns + source;
  if (!list.shown.empty()) select += " AND (" + list.shown + ")";
  const bool forward = !request.before;
  const bool ascending = request.ascending == forward;
  if (const auto& cursor = forward ? request.after : request.before) {
    std::vector<postgres::Value> named = list.owner_values;
    named.emplace_back(*cursor);
    const auto found = tx.execute("SELECT max(" + list.table + ".seq) AS seq" + source + " AND " + list.table + "." +
                                      list.key + " = $" + std::to_string(named.size()),
                                  named);
    if (found.row(0).is_null("seq"))
      throw base::bad_request("invalid_cursor", "No object '" + *cursor + "' to list from.", forward ? "after" : "before");
    values.emplace_back(found.row(0).integer("seq"));
    select += " AND " + list.table + ".seq " + (ascending ? ">" : "<") + " $" + std::to_string(values.size());
  }
  values.emplace_back(request.limit + 1);
  select += " ORDER BY " + list.table + ".seq " + (ascending ? "ASC" : "DESC") + " LIMIT $" + std::to_string(values.size());
  const auto rows = tx.execute(select, values);
  Page<T> page;
  page.has_more = rows.size() > static_cast<std::size_t>(request.limit);
  for (std::size_t i = 0; i < rows.size() && i < static_cast<std::size_t>(request.limit); ++i)
    page.data.push_back(map(rows.row(i)));
  if (!forward) std::reverse(page.data.begin(), page.data.end());
  return page;
}

}  // namespace finetuned::storage
