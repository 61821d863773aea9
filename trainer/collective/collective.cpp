#include "trainer/collective/collective.h"

#include <algorithm>

#include "base/expects.h"

namespace finetuned::collective {

void add_part(std::span<const float> part, bool first, std::span<float> total) {
  base::expects(part.size() == total.size(), "a part is as long as the sum");
  if (first) {
    std::copy(part.begin(), part.end(), total.begin());
    return;
  }
  for (std::size_t i = 0; i < total.size(); ++i)
    total[i] += part[i];
}

std::string rank_name(int rank, int size) {
  return "rank " + std::to_string(rank) + " of " + std::to_string(size);
}

std::string silence_of(int rank, int size, std::chrono::milliseconds waited) {
  return rank_name(rank, size) + " did not answer within " +
         std::to_string(static_cast<double>(waited.count()) / 1000).substr(0, 5) +
         " s; where its share may take longer, raise the peer timeout";
}

}  // namespace finetuned::collective
