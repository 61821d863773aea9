#include "trainer/generate/log_probabilities.h"

#include <algorithm>
#include <cmath>

#include "base/expects.h"

namespace finetuned::generate {

template <class Real>
LogProbabilities log_probabilities(std::span<const Real> logits, std::int32_t chosen, std::size_t top) {
  base::expects(chosen >= 0 && static_cast<std::size_t>(chosen) < logits.size(), "the chosen token has a logit");
  const double highest = static_cast<double>(*std::max_element(logits.begin(), logits.end()));
  double total = 0;
  for (const Real logit : logits) total += std::exp(static_cast<double>(logit) - highest);
  const double log_total = highest + std::log(total);

  LogProbabilities found;
  found.chosen = static_cast<double>(logits[static_cast<std::size_t>(chosen)]) - log_total;
  top = std::min(top, logits.size());
  if (top == 0) return found;
  const auto better = [](const LogProbability& a, const LogProbability& b) { return a.value > b.value; };
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const LogProbability next{static_cast<std::int32_t>(i), static_cast<double>(logits[i]) - log_total};
    if (found.top.size() == top && !better(next, found.top.back())) continue;
    if (found.top.size() == top) found.top.pop_back();
    found.top.insert(std::upper_bound(found.top.begin(), found.top.end(), next, better), next);
  }
  return found;
}

template LogProbabilities log_probabilities(std::span<const float>, std::int32_t, std::size_t);
template LogProbabilities log_probabilities(std::span<const double>, std::int32_t, std::size_t);

}  // namespace finetuned::generate
