#include "services/gateway/graders/templates.h"

#include <algorithm>
#include <charconv>

#include "base/errors.h"

namespace finetuned::graders {

namespace {

constexpr std::string_view kBlanks = " \t\r\n";

std::string_view trimmed(std::string_view text) {
  const auto begin = text.find_first_not_of(kBlanks);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

/// Reads one variable, between its braces.
class VariableReader {
 public:
  VariableReader(std::string_view text, const std::string& param) : text_(text), param_(param) {}

  Variable read() {
    if (text_.size() > kMostVariableBytes) refuse("at most " + std::to_string(kMostVariableBytes) + " bytes may name a variable");
    Variable variable;
    variable.name = std::string(text_);
    const std::string space = take_name();
    if (space != "item" && space != "sample") refuse("the namespaces are item and sample");
    if (!take('.')) refuse("a name must follow: {{ " + space + ".NAME }}");
    const std::string name = take_name();
    if (space == "item") {
      variable.steps.emplace_back(name);
    } else if (name == "output_text") {
      variable.root = Variable::Root::kOutputText;
      if (at_ < text_.size()) refuse("sample.output_text is a text, nothing is below it; sample.output_json may have more");
    } else if (name == "output_json") {
      variable.root = Variable::Root::kOutputJson;
    } else {
      refuse("sample has output_text and output_json here");
    }
    while (at_ < text_.size()) {
      if (take('.')) {
        variable.steps.emplace_back(take_name());
      } else if (take('[')) {
        variable.steps.emplace_back(take_index());
      } else {
        refuse("it must be names joined by '.', and [INDEX]");
      }
      if (variable.steps.size() > kMostVariableSteps) refuse("at most " + std::to_string(kMostVariableSteps) + " steps are taken");
    }
    return variable;
  }

 private:
  [[noreturn]] void refuse(const std::string& why) const {
    throw base::bad_request("invalid_template", param_ + ": {{" + std::string(text_.substr(0, 100)) + "}}: " + why + ".", param_);
  }

  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  std::string take_name() {
    const auto end = std::min(text_.find_first_of(".[]{} \t\r\n", at_), text_.size());
    if (end == at_) refuse("a name is empty");
    std::string name(text_.substr(at_, end - at_));
    at_ = end;
    return name;
  }

  std::size_t take_index() {
    std::size_t index = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), index);
    at_ = static_cast<std::size_t>(end - text_.data());
    if (error != std::errc() || !take(']')) refuse("an index is a number from 0, as in [0]");
    return index;
  }

  std::string_view text_;
  const std::string& param_;
  std::size_t at_ = 0;
};

}  // namespace

Template::Template(std::string_view text, const std::string& param) {
  const auto refuse = [&param](const std::string& why) { throw base::bad_request("invalid_template", param + " " + why + ".", param); };
  if (text.size() > kMostTemplateBytes) refuse("must have at most " + std::to_string(kMostTemplateBytes) + " bytes");
  std::size_t variables = 0;
  while (!text.empty()) {
    const auto begin = text.find("{{");
    if (begin != 0) parts_.emplace_back(std::string(text.substr(0, begin)));
    if (begin == std::string_view::npos) return;
    const auto end = text.find("}}", begin);
    if (end == std::string_view::npos) refuse("has a {{ without its }}");
    if (++variables > kMostVariables) refuse("must have at most " + std::to_string(kMostVariables) + " variables");
    parts_.emplace_back(VariableReader(trimmed(text.substr(begin + 2, end - begin - 2)), param).read());
    text.remove_prefix(end + 2);
  }
}

}  // namespace finetuned::graders
