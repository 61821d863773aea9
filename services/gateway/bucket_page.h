#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "services/gateway/http.h"

namespace finetuned::gateway {

/// A width that an administrator's buckets of time may have, and how many of them a page holds.
struct BucketWidth {
  std::string_view name;  ///< `1d`
  std::int64_t seconds = 0;
  std::int64_t default_limit = 0, most = 0;
};

/// A page of buckets of time, which begin at multiples of their width in UTC. All times are Unix seconds.
struct BucketPage {
  std::int64_t width = 0;
  std::int64_t from = 0, until = 0;  ///< of this page: from the first bucket's start to the last one's end
  std::vector<std::int64_t> starts;  ///< of each bucket; the first may begin within its minute, hour or day
  bool has_more = false;

  /// The multiple of the width that a bucket belongs to.
  std::int64_t slot_of(std::int64_t second) const { return second - second % width; }
  std::int64_t end_of(std::int64_t start) const;
  /// The cursor of the page behind this one.
  std::optional<std::string> next_page() const;
};

/// Reads `start_time`, `end_time` (without it: the end of the bucket that `now` is in), `bucket_width` (`1d` without it, one
/// of `widths`), `limit` and `page`. Throws ApiError 400.
BucketPage read_bucket_page(const Request& request, std::int64_t now, std::span<const BucketWidth> widths);

/// The values of a filter, 100 at most. Throws ApiError 400.
std::vector<std::string> read_filter(const Request& request, const char* name);

}  // namespace finetuned::gateway
