#include "billing/paired_test.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>

#include "base/expects.h"

namespace finetuned::billing {

PairedTest paired_test(std::span<const double> differences) {
  base::expects(differences.size() >= 2, "a test of two pairs or more");
  const auto count = static_cast<double>(differences.size());
  PairedTest test;
  for (const double difference : differences) test.mean += difference / count;
  double squares = 0;
  for (const double difference : differences) squares += (difference - test.mean) * (difference - test.mean);
  const bool all_equal = std::all_of(differences.begin(), differences.end(), [&](double d) { return d == differences[0]; });
  if (all_equal) {  // the rounding of the mean is no spread
    test.mean = differences[0];
    if (test.mean == 0) return test;
    test.t = std::copysign(std::numeric_limits<double>::infinity(), test.mean);
    test.p_value = test.mean > 0 ? 0 : 1;
    return test;
  }
  test.t = test.mean / std::sqrt(squares / (count - 1) / count);
  const boost::math::students_t distribution(count - 1);
  test.p_value = boost::math::cdf(boost::math::complement(distribution, test.t));
  return test;
}

std::int64_t award_of(std::int64_t reward_micro, double incumbent, double measured, double target, bool lower_is_better) {
  const double sign = lower_is_better ? 1 : -1;
  const double gap = sign * (incumbent - target), gain = sign * (incumbent - measured);
  if (!(gap > 0) || !(gain > 0)) return 0;
  if (gain >= gap) return reward_micro;
  const long double award = std::floor(static_cast<long double>(reward_micro) * (static_cast<long double>(gain) / static_cast<long double>(gap)));
  return std::min(reward_micro, static_cast<std::int64_t>(award));
}

}  // namespace finetuned::billing
