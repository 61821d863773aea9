#include "tests/kernel_cases/cases.h"

#include <algorithm>
#include <cmath>
#include <sstream>

namespace finetuned::kernel_cases {

namespace {

std::string told(const std::string& what, std::size_t at, double got, double expected) {
  std::ostringstream text;
  text.precision(9);
  text << what << ": element " << at << " is " << got << ", the oracle's " << expected;
  return text.str();
}

}  // namespace

void Check::near(const std::string& what, double got, double expected, double absolute, double relative) {
  near(what, std::vector<double>{got}, std::vector<double>{expected}, absolute, relative);
}

void Check::near(const std::string& what, const std::vector<double>& got, const std::vector<double>& expected, double absolute,
                 double relative) {
  holds(got.size() == expected.size(), what + ": as many as the oracle's");
  double worst = 0;
  std::size_t at = 0;
  for (std::size_t i = 0; i < got.size() && i < expected.size(); ++i) {
    const double distance = std::abs(got[i] - expected[i]), allowed = absolute + relative * std::abs(expected[i]);
    double part = distance == 0 ? 0 : distance / allowed;
    if (std::isnan(part)) part = INFINITY;
    if (part <= worst) continue;
    worst = part;
    at = i;
  }
  compared_ += static_cast<std::int64_t>(got.size());
  worst_ = std::max(worst_, worst);
  if (worst > 1) faults_.push_back(told(what, at, got[at], expected[at]));
}

void Check::holds(bool held, const std::string& what) {
  if (!held) faults_.push_back(what);
}

std::vector<Case> small_cases() {
  std::vector<Case> cases;
  add_row_cases(cases);
  add_product_cases(cases);
  add_attention_cases(cases);
  add_model_cases(cases);
  return cases;
}

}  // namespace finetuned::kernel_cases
