#include "services/inference/stop_filter.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace finetuned::inference {

std::string StopFilter::push(std::string_view text) {
  if (stopped_) return {};
  held_ += text;
  std::optional<std::pair<std::size_t, std::size_t>> first;  // end and begin of a stop string
  for (const std::string& stop : stops_) {
    const std::size_t begin = held_.find(stop);
    if (begin == std::string::npos) continue;
    const std::pair found(begin + stop.size(), begin);
    if (!first || found < *first) first = found;
  }
  if (first) {
    stopped_ = true;
    held_.resize(first->second);
    return std::exchange(held_, {});
  }
  std::size_t kept = 0;
  for (const std::string& stop : stops_) {
    for (std::size_t size = std::min(stop.size() - 1, held_.size()); size > kept; --size)
      if (held_.compare(held_.size() - size, size, stop, 0, size) == 0) kept = size;
  }
  std::string certain = held_.substr(0, held_.size() - kept);
  held_.erase(0, certain.size());
  return certain;
}

std::string StopFilter::finish() { return std::exchange(held_, {}); }

}  // namespace finetuned::inference
