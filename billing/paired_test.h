#pragma once

#include <cstdint>
#include <span>

namespace finetuned::billing {

/// A one-sided paired t-test: whether the differences' mean is above nothing.
struct PairedTest {
  double mean = 0;     ///< of the differences
  double t = 0;        ///< mean / (s / sqrt(n)); infinite where all differences are one and the same
  double p_value = 1;  ///< P(T > t), T of Student's distribution with n - 1 degrees of freedom
};

/// `differences`: at least two, finite. All of them equal to 0: t = 0 and p = 1.
PairedTest paired_test(std::span<const double> differences);

/// What a better recipe earns, in micro-points rounded down: reward x clip((incumbent - measured) / (incumbent - target), 0, 1).
/// An incumbent that has reached the target, or is beyond it, leaves nothing to be earned: 0. `lower_is_better`: the side of the
/// incumbent that a target lies on.
std::int64_t award_of(std::int64_t reward_micro, double incumbent, double measured, double target, bool lower_is_better);

}  // namespace finetuned::billing
