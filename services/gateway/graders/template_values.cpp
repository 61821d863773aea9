#include <boost/json/serialize.hpp>
#include <charconv>
#include <utility>

#include "services/gateway/graders/failure.h"
#include "services/gateway/graders/templates.h"

namespace finetuned::graders {

namespace json = base::json;

namespace {

/// JSON; Boost.JSON's own writes 1.5 as 1.5E0. As deep as what the parser lets through.
void append_json(std::string& out, const json::value& value) {
  if (const double* number = value.if_double()) {
    char digits[32];
    out.append(digits, std::to_chars(digits, digits + sizeof digits, *number).ptr);
  } else if (const json::array* array = value.if_array()) {
    out += '[';
    for (std::size_t i = 0; i < array->size(); ++i) {
      if (i > 0) out += ", ";
      append_json(out, (*array)[i]);
    }
    out += ']';
  } else if (const json::object* object = value.if_object()) {
    out += '{';
    bool first = true;
    for (const auto& [key, one] : *object) {
      if (!std::exchange(first, false)) out += ", ";
      out += json::serialize(json::string(key)) + ": ";
      append_json(out, one);
    }
    out += '}';
  } else {
    out += json::serialize(value);
  }
}

const json::value& at_step(const json::value& value, const std::variant<std::string, std::size_t>& step, const std::string& name) {
  const json::value* next = nullptr;
  if (const std::string* key = std::get_if<std::string>(&step)) {
    if (const json::object* object = value.if_object()) next = object->if_contains(*key);
    if (!next) throw GradingFailure(FailureKind::kInvalidVariable, "{{" + name + "}}: there is no '" + *key + "'");
    return *next;
  }
  const std::size_t index = std::get<std::size_t>(step);
  if (const json::array* array = value.if_array()) next = array->if_contains(index);
  if (!next) throw GradingFailure(FailureKind::kInvalidVariable, "{{" + name + "}}: there is no element " + std::to_string(index));
  return *next;
}

std::string value_of(const Variable& variable, const Sample& sample) {
  if (variable.root == Variable::Root::kOutputText) return sample.output_text();
  auto step = variable.steps.begin();
  const json::value* value = nullptr;
  if (variable.root == Variable::Root::kItem) {
    const auto& key = std::get<std::string>(*step++);
    value = sample.item().if_contains(key);
    if (!value) throw GradingFailure(FailureKind::kInvalidVariable, "{{" + variable.name + "}}: the item has no '" + key + "'");
  } else {
    if (!sample.output_json())
      throw GradingFailure(FailureKind::kSampleParse, "{{" + variable.name + "}}: the sample is not acceptable JSON");
    value = &*sample.output_json();
  }
  for (; step != variable.steps.end(); ++step) value = &at_step(*value, *step, variable.name);
  return shown(*value);
}

}  // namespace

std::string shown(const json::value& value) {
  if (const json::string* text = value.if_string()) return std::string(*text);
  std::string out;
  append_json(out, value);
  return out;
}

Sample::Sample(json::object item, std::string output_text) : item_(std::move(item)), output_text_(std::move(output_text)) {}

const std::optional<json::value>& Sample::output_json() const {
  if (std::exchange(read_, true)) return output_json_;
  try {
    output_json_ = base::parse_json(output_text_, {.depth = 32, .bytes = kMostRenderedBytes});
  } catch (const base::JsonError&) {
    output_json_.reset();
  }
  return output_json_;
}

std::string Template::render(const Sample& sample) const {
  std::string out;
  for (const auto& part : parts_) {
    const std::string* text = std::get_if<std::string>(&part);
    out += text ? *text : value_of(std::get<Variable>(part), sample);
    if (out.size() > kMostRenderedBytes)
      throw GradingFailure(FailureKind::kOther, "a template's text has more than " + std::to_string(kMostRenderedBytes) + " bytes");
  }
  return out;
}

}  // namespace finetuned::graders
