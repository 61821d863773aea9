#include "services/gateway/graders/sequences.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

namespace finetuned::graders {
namespace {

using Symbols = std::vector<std::uint32_t>;

/// By the recurrence.
std::size_t plain_lcs(const Symbols& a, const Symbols& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (const auto symbol : a) {
    std::size_t before = 0;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t above = row[j + 1];
      row[j + 1] = symbol == b[j] ? before + 1 : std::max(row[j], above);
      before = above;
    }
  }
  return row.back();
}

TEST(Sequences, CommonSubsequencesAreAsLongAsTheRecurrenceSays) {
  std::mt19937 random(3);
  for (int round = 0; round < 300; ++round) {
    const unsigned different = 1 + random() % 12;
    Symbols sides[2];
    for (Symbols& side : sides) {
      side.resize(random() % 260);
      for (auto& symbol : side) symbol = random() % different;
    }
    EXPECT_EQ(lcs_length(sides[0], sides[1]), plain_lcs(sides[0], sides[1])) << round;
  }
}

TEST(Sequences, WordBoundariesAndEmptySidesAreNoException) {
  for (const std::size_t size : {0u, 1u, 63u, 64u, 65u, 127u, 128u, 129u}) {
    const Symbols ones(size, 1);
    EXPECT_EQ(lcs_length(ones, ones), size);
    EXPECT_EQ(lcs_length(ones, {}), 0u);
    EXPECT_EQ(lcs_length({}, ones), 0u);
    EXPECT_EQ(lcs_length(ones, Symbols(200, 1)), std::min<std::size_t>(size, 200));
    EXPECT_EQ(lcs_length(ones, Symbols(size, 2)), 0u);
  }
}

}  // namespace
}  // namespace finetuned::graders
