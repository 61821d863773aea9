#pragma once

#include <cstring>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "trainer/collective/collective.h"

namespace finetuned::collective {

inline constexpr int kLeftOpen = 77;  ///< a descriptor of the test's that no rank is to have

/// In a child process a failed EXPECT says nothing to the parent: what does not hold is thrown.
inline void hold(bool held, const std::string& what) {
  if (!held) throw std::runtime_error("does not hold: " + what);
}

/// A value of part `part` at `index`: of sizes so different that every order of additions gives other bits.
inline float part_value(std::size_t part, std::size_t index) {
  const float sizes[] = {1.0f, 3e7f, -3e7f, 1e-3f, 7.7f, -1e5f, 0.123f, 2e3f};
  return sizes[(part + index) % 8] * (1.0f + static_cast<float>(index % 97) / 31.0f);
}

inline std::vector<float> part_values(std::size_t part, std::size_t length) {
  std::vector<float> values(length);
  for (std::size_t i = 0; i < length; ++i)
    values[i] = part_value(part, i);
  return values;
}

inline bool same_bits(const std::vector<float>& one, const std::vector<float>& other) {
  return one.size() == other.size() && std::memcmp(one.data(), other.data(), one.size() * sizeof(float)) == 0;
}

/// Deals `parts` parts of `length` to the ranks in turn and proves that every rank gets the bits of the plain
/// sum.
inline void check_sum(Collective& group, std::size_t parts, std::size_t length) {
  std::vector<float> expected = part_values(0, length);
  for (std::size_t part = 1; part < parts; ++part)
    for (std::size_t i = 0; i < length; ++i)
      expected[i] += part_value(part, i);
  const auto rank = static_cast<std::size_t>(group.rank()), size = static_cast<std::size_t>(group.size());
  std::vector<std::vector<float>> mine;
  for (std::size_t part = parts * rank / size; part < parts * (rank + 1) / size; ++part)
    mine.push_back(part_values(part, length));
  const std::vector<std::span<const float>> views(mine.begin(), mine.end());
  std::vector<float> total(length, -1.0f);
  group.sum_in_order(views, total);
  hold(same_bits(total, expected), "the sum of " + std::to_string(parts) + " parts is in their order");
  if (mine.empty()) return;
  group.sum_in_order(views, mine.back());  // into a part of its own
  hold(same_bits(mine.back(), expected), "a sum may replace a part");
}

inline void check_gather(Collective& group) {
  for (int turn = 0; turn < 5; ++turn) {
    const auto all = gather_values(group, 100 * turn + group.rank());
    hold(static_cast<int>(all.size()) == group.size(), "there is a value of each rank");
    for (int rank = 0; rank < group.size(); ++rank)
      hold(all[static_cast<std::size_t>(rank)] == 100 * turn + rank, "values are in rank order");
  }
}

/// Everything that a group of this size does; a rank without a part takes no second sum, so parts >= ranks.
inline void check_group(Collective& group) {
  check_gather(group);
  const auto size = static_cast<std::size_t>(group.size());
  for (const std::size_t length : {std::size_t{1}, std::size_t{1000}, std::size_t{300'001}})
    for (std::size_t parts = size; parts <= kMostParts; parts += 2)
      check_sum(group, parts, length);
  check_gather(group);
}

/// One part only: all ranks but one come with none.
inline void check_lonely_part(Collective& group) {
  const std::vector<float> part = part_values(3, 1000);
  const std::span<const float> view(part);
  for (int owner = 0; owner < group.size(); ++owner) {
    std::vector<float> total(1000);
    group.sum_in_order(std::span(&view, group.rank() == owner ? 1 : 0), total);
    hold(same_bits(total, part), "one part is the sum");
  }
}

}  // namespace finetuned::collective
