#pragma once

#include <optional>
#include <string>
#include <vector>

namespace finetuned::storage {

/// A cursor list's request: at most `limit` (>= 0) rows behind the row with id `after`, or the nearest ones before the
/// row with id `before`. Not both.
struct PageRequest {
  std::optional<std::string> after;
  int limit = 20;
  bool ascending = false;  ///< false: newest first
  std::optional<std::string> before = std::nullopt;  ///< read_listing only
};

template <class T>
struct Page {
  std::vector<T> data;
  bool has_more = false;  ///< in the direction that was asked for
};

}  // namespace finetuned::storage
