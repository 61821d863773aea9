#include "services/gateway/graders/formula.h"

#include <algorithm>
#include <cmath>

#include "base/expects.h"
#include "services/gateway/graders/failure.h"

namespace finetuned::graders {

namespace {

using Kind = FormulaStep::Kind;

double divide(double a, double b) {
  if (b == 0) throw GradingFailure(FailureKind::kOther, "calculate_output divides by zero");
  return a / b;
}

double of_one(Kind kind, double a) {
  switch (kind) {
    case Kind::kNegate: return -a;
    case Kind::kAbs: return std::abs(a);
    case Kind::kFloor: return std::floor(a);
    case Kind::kCeil: return std::ceil(a);
    case Kind::kExp: return std::exp(a);
    case Kind::kSqrt: return std::sqrt(a);
    default: return std::log(a);
  }
}

double of_two(Kind kind, double a, double b) {
  switch (kind) {
    case Kind::kAdd: return a + b;
    case Kind::kSubtract: return a - b;
    case Kind::kMultiply: return a * b;
    case Kind::kDivide: return divide(a, b);
    default: return std::pow(a, b);
  }
}

bool takes_two(Kind kind) { return kind >= Kind::kAdd && kind <= Kind::kPower; }

}  // namespace

double Formula::evaluate(const std::vector<double>& values) const {
  std::vector<double> stack;
  for (const FormulaStep& step : steps_) {
    double result = 0;
    if (step.kind == Kind::kNumber) {
      result = step.number;
    } else if (step.kind == Kind::kName) {
      result = values.at(step.index);
    } else if (step.kind == Kind::kMin || step.kind == Kind::kMax) {
      const auto first = stack.end() - static_cast<std::ptrdiff_t>(step.index);
      result = step.kind == Kind::kMin ? *std::min_element(first, stack.end()) : *std::max_element(first, stack.end());
      stack.erase(first, stack.end());
    } else if (takes_two(step.kind)) {
      const double right = stack.back();
      stack.pop_back();
      result = of_two(step.kind, stack.back(), right);
      stack.pop_back();
    } else {
      result = of_one(step.kind, stack.back());
      stack.pop_back();
    }
    if (!std::isfinite(result))
      throw GradingFailure(FailureKind::kOther, "calculate_output has a step whose result is not a finite number");
    stack.push_back(result);
  }
  base::expects(stack.size() == 1, "a formula leaves one number");
  return stack.back();
}

}  // namespace finetuned::graders
