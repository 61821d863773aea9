#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace finetuned::graders {

inline constexpr std::size_t kMostFormulaBytes = 1024;
inline constexpr std::size_t kMostFormulaDepth = 32;
inline constexpr std::size_t kMostArguments = 16;

/// One of a formula's steps on a stack of numbers.
struct FormulaStep {
  enum class Kind : std::uint8_t {
    kNumber, kName, kAdd, kSubtract, kMultiply, kDivide, kPower, kNegate,
    kMin, kMax, kAbs, kFloor, kCeil, kExp, kSqrt, kLog
  };
  Kind kind = Kind::kNumber;
  double number = 0;      ///< of kNumber
  std::size_t index = 0;  ///< of kName: which name; of kMin and kMax: how many arguments
};

/// `calculate_output` of a multi grader, over its graders' names:
///
///   sum     = product { ("+" | "-") product }
///   product = signed { ("*" | "/") signed }
///   signed  = ("+" | "-") signed | power
///   power   = atom [ "^" signed ]                so -2^2 is -4 and 2^3^2 is 512
///   atom    = NUMBER | NAME | FUNCTION "(" sum { "," sum } ")" | "(" sum ")"
///
/// min and max take 1 to kMostArguments; abs, floor, ceil, exp, sqrt and log (natural) one.
class Formula {
 public:
  /// Throws ApiError 400 `invalid_formula` naming `param`, with the offset of the fault: syntax, a name that is not in
  /// `names`, a bound passed.
  Formula(std::string_view text, const std::vector<std::string>& names, const std::string& param);

  /// `values` in the order of the names. Throws GradingFailure (kOther) where a step divides by zero or its result is not a
  /// finite number.
  double evaluate(const std::vector<double>& values) const;

 private:
  std::vector<FormulaStep> steps_;
};

/// What a formula may call a grader: a letter or `_`, then letters, digits and `_`, 64 at most, and no function's name.
bool is_formula_name(std::string_view name);

}  // namespace finetuned::graders
