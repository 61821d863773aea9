#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/json.h"

namespace finetuned::graders {

inline constexpr std::size_t kMostTemplateBytes = 16 << 10;
inline constexpr std::size_t kMostVariables = 64;      ///< in one template
inline constexpr std::size_t kMostVariableBytes = 256;
inline constexpr std::size_t kMostVariableSteps = 16;  ///< `item.a.b[0]` has three
inline constexpr std::size_t kMostRenderedBytes = 256 << 10;

/// What templates speak of: the dataset item, and the model's output.
class Sample {
 public:
  Sample(base::json::object item, std::string output_text);
  const base::json::object& item() const { return item_; }
  const std::string& output_text() const { return output_text_; }
  /// The output read as JSON; nullopt where it is none. Read at the first question, so not for two threads.
  const std::optional<base::json::value>& output_json() const;

 private:
  base::json::object item_;
  std::string output_text_;
  mutable bool read_ = false;
  mutable std::optional<base::json::value> output_json_;
};

/// `{{ namespace.variable }}`: `item.KEY`, `sample.output_text`, `sample.output_json`, the first and the last followed by any
/// number of `.KEY` (whatever stands up to the next of `. [ ] { }` and blanks) and `[INDEX]`.
struct Variable {
  enum class Root { kItem, kOutputText, kOutputJson };
  Root root = Root::kItem;
  std::vector<std::variant<std::string, std::size_t>> steps;
  std::string name;  ///< as written, without blanks around it
};

/// A text with variables in it.
class Template {
 public:
  /// Throws ApiError 400 `invalid_template` naming `param`: an unclosed `{{`, an unknown namespace or name, a bound passed.
  Template(std::string_view text, const std::string& param);

  /// The text with every variable's value: a string as it is, all else as JSON. What is put in is not read as a template.
  /// Throws GradingFailure: a name that is not there, a sample that is no JSON, more than kMostRenderedBytes.
  std::string render(const Sample& sample) const;

 private:
  std::vector<std::variant<std::string, Variable>> parts_;
};

/// A value as a template shows it. Numbers are the shortest that read back the same: `1.5`, `0.1`, `1e+30`.
std::string shown(const base::json::value& value);

}  // namespace finetuned::graders
