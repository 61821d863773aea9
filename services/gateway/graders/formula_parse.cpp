#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "base/errors.h"
#include "services/gateway/graders/formula.h"

namespace finetuned::graders {

namespace {

using Kind = FormulaStep::Kind;

constexpr std::size_t kMostNameBytes = 64;
constexpr std::array<std::pair<std::string_view, Kind>, 8> kFunctions{{{"min", Kind::kMin},
                                                                      {"max", Kind::kMax},
                                                                      {"abs", Kind::kAbs},
                                                                      {"floor", Kind::kFloor},
                                                                      {"ceil", Kind::kCeil},
                                                                      {"exp", Kind::kExp},
                                                                      {"sqrt", Kind::kSqrt},
                                                                      {"log", Kind::kLog}}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool begins_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool goes_on_name(char c) { return begins_name(c) || is_digit(c); }

std::optional<Kind> function_of(std::string_view name) {
  for (const auto& [word, kind] : kFunctions)
    if (word == name) return kind;
  return std::nullopt;
}

/// Recursive descent, a method a rule of the grammar; steps come out in the order of their evaluation.
class FormulaReader {
 public:
  FormulaReader(std::string_view text, const std::vector<std::string>& names, const std::string& param)
      : text_(text), names_(names), param_(param) {}

  std::vector<FormulaStep> read() {
    if (text_.size() > kMostFormulaBytes) refuse("it must have at most " + std::to_string(kMostFormulaBytes) + " bytes");
    sum();
    if (at_ < text_.size()) refuse("an operator or the end is expected");
    return std::move(steps_);
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw base::bad_request("invalid_formula", param_ + " (byte " + std::to_string(at_) + "): " + why + ".", param_);
  }

  void skip_blanks() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
  }

  bool take(char c) {
    skip_blanks();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    skip_blanks();
    return true;
  }

  void close() {
    if (!take(')')) refuse("a ')' is expected");
  }

  void enter() {
    if (++depth_ > kMostFormulaDepth) refuse("it is nested deeper than " + std::to_string(kMostFormulaDepth) + " levels");
  }

  void add(Kind kind, std::size_t index = 0) { steps_.push_back({kind, 0, index}); }

  void sum() {
    product();
    for (;;) {
      const bool plus = take('+');
      if (!plus && !take('-')) return;
      product();
      add(plus ? Kind::kAdd : Kind::kSubtract);
    }
  }

  void product() {
    signed_power();
    for (;;) {
      const bool times = take('*');
      if (!times && !take('/')) return;
      signed_power();
      add(times ? Kind::kMultiply : Kind::kDivide);
    }
  }

  void signed_power() {
    enter();
    if (take('+')) {
      signed_power();
    } else if (take('-')) {
      signed_power();
      add(Kind::kNegate);
    } else {
      atom();
      if (take('^')) {
        signed_power();
        add(Kind::kPower);
      }
    }
    --depth_;
  }

  void atom() {
    skip_blanks();
    if (at_ >= text_.size()) refuse("a number, a name or a '(' is expected");
    const char c = text_[at_];
    if (is_digit(c) || c == '.') return number();
    if (begins_name(c)) return name();
    if (!take('(')) refuse("a number, a name or a '(' is expected");
    sum();
    close();
  }

  void number() {
    FormulaStep step;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), step.number);
    if (error != std::errc() || !std::isfinite(step.number)) refuse("this is not a number that can be kept");
    at_ = static_cast<std::size_t>(end - text_.data());
    steps_.push_back(step);
    skip_blanks();
  }

  void name() {
    const std::size_t begin = at_;
    std::size_t end = at_;
    while (end < text_.size() && goes_on_name(text_[end])) ++end;
    const std::string_view word = text_.substr(begin, end - begin);
    if (const auto function = function_of(word)) {
      at_ = end;
      return arguments(std::string(word), *function);
    }
    const auto found = std::find(names_.begin(), names_.end(), word);
    if (found == names_.end()) refuse("no grader is named '" + std::string(word.substr(0, kMostNameBytes)) + "'");
    at_ = end;
    add(Kind::kName, static_cast<std::size_t>(found - names_.begin()));
    skip_blanks();
  }

  void arguments(const std::string& word, Kind function) {
    if (!take('(')) refuse("a '(' must follow " + word);
    std::size_t count = 0;
    do {
      sum();
      if (++count > kMostArguments) refuse(word + " takes at most " + std::to_string(kMostArguments) + " numbers");
    } while (take(','));
    const bool many = function == Kind::kMin || function == Kind::kMax;
    if (!many && count != 1) refuse(word + " takes one number");
    close();
    add(function, count);
  }

  std::string_view text_;
  const std::vector<std::string>& names_;
  const std::string& param_;
  std::size_t at_ = 0;
  std::size_t depth_ = 0;
  std::vector<FormulaStep> steps_;
};

}  // namespace

Formula::Formula(std::string_view text, const std::vector<std::string>& names, const std::string& param)
    : steps_(FormulaReader(text, names, param).read()) {}

bool is_formula_name(std::string_view name) {
  return !name.empty() && name.size() <= kMostNameBytes && begins_name(name.front()) &&
         std::all_of(name.begin(), name.end(), goes_on_name) && !function_of(name);
}

}  // namespace finetuned::graders
