#pragma once

#include <optional>
#include <string>
#include <vector>

namespace finetuned::storage {

/// A cursor list's request: at most `limit` (>= 1) rows behind the row with id `after`.
struct PageRequest {
  std::optional<std::string> after;
  int limit = 20;
  bool ascending = false;  ///< false: newest first
};

template <class T>
struct Page {
  std::vector<T> data;
  bool has_more = false;
};

}  // namespace finetuned::storage
