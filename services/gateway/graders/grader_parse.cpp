#include "services/gateway/graders/grader_parse.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <utility>

#include "base/errors.h"

namespace finetuned::graders {

namespace json = base::json;

namespace {

template <class T, std::size_t N>
using Choices = std::array<std::pair<std::string_view, T>, N>;

constexpr Choices<StringOperation, 4> kOperations{{{"eq", StringOperation::kEq},
                                                   {"ne", StringOperation::kNe},
                                                   {"like", StringOperation::kLike},
                                                   {"ilike", StringOperation::kIlike}}};
constexpr Choices<Metric, 10> kMetrics{{{"fuzzy_match", Metric::kFuzzyMatch},
                                        {"bleu", Metric::kBleu},
                                        {"gleu", Metric::kGleu},
                                        {"meteor", Metric::kMeteor},
                                        {"rouge_1", Metric::kRouge1},
                                        {"rouge_2", Metric::kRouge2},
                                        {"rouge_3", Metric::kRouge3},
                                        {"rouge_4", Metric::kRouge4},
                                        {"rouge_5", Metric::kRouge5},
                                        {"rouge_l", Metric::kRougeL}}};

/// One grader's object, and where it stands.
class Fields {
 public:
  Fields(const json::value& value, std::string param) : param_(std::move(param)) {
    object_ = value.if_object();
    if (!object_) throw base::bad_request("invalid_value", param_ + " must be an object.", param_);
  }

  std::string path(const char* key) const { return param_ + "." + key; }

  const json::value& required(const char* key) const {
    const json::value* value = object_->if_contains(key);
    if (!value || value->is_null())
      throw base::bad_request("missing_required_parameter", "Missing required parameter: " + path(key) + ".", path(key));
    return *value;
  }

  std::string text(const char* key) const {
    const json::value& value = required(key);
    if (!value.is_string()) refuse(key, "must be a string");
    return std::string(value.get_string());
  }

  std::string name() const {
    std::string name = text("name");
    if (name.empty() || name.size() > kMostNameBytes) refuse("name", "must have 1 to " + std::to_string(kMostNameBytes) + " bytes");
    return name;
  }

  template <class T, std::size_t N>
  T choice(const char* key, const Choices<T, N>& choices) const {
    const std::string given = text(key);
    std::string all;
    for (const auto& [word, value] : choices) {
      if (word == given) return value;
      all += (all.empty() ? "" : " or ") + std::string(word);
    }
    refuse(key, "must be " + all);
  }

  void allow_only(std::initializer_list<std::string_view> known) const {
    for (const auto& [key, value] : *object_) {
      if (std::find(known.begin(), known.end(), std::string_view(key)) != known.end()) continue;
      const std::string where = param_ + "." + std::string(key);
      throw base::bad_request("unknown_parameter", "Unknown parameter: " + where + ".", where);
    }
  }

  [[noreturn]] void refuse(const char* key, const std::string& why) const {
    throw base::bad_request("invalid_value", path(key) + " " + why + ".", path(key));
  }

  [[noreturn]] void not_here(const char* key, const std::string& why) const {
    throw base::bad_request("unsupported_grader", path(key) + ": " + why + ".", path(key));
  }

 private:
  const json::object* object_ = nullptr;
  std::string param_;
};

StringCheck read_string_check(const Fields& fields) {
  fields.allow_only({"type", "name", "input", "reference", "operation"});
  return {fields.name(), Template(fields.text("input"), fields.path("input")),
          Template(fields.text("reference"), fields.path("reference")), fields.choice("operation", kOperations)};
}

TextSimilarity read_text_similarity(const Fields& fields) {
  fields.allow_only({"type", "name", "input", "reference", "evaluation_metric"});
  if (fields.text("evaluation_metric") == "cosine")
    fields.not_here("evaluation_metric", "cosine needs embeddings, which are not served here; use another metric, such as fuzzy_match");
  return {fields.name(), Template(fields.text("input"), fields.path("input")),
          Template(fields.text("reference"), fields.path("reference")), fields.choice("evaluation_metric", kMetrics)};
}

/// The type, unless it is none or one that does not run here.
std::string runnable_type(const Fields& fields) {
  std::string type = fields.text("type");
  if (type == "score_model" || type == "label_model" || type == "python")
    fields.not_here("type", "graders of type " + type + " do not run here; use string_check, text_similarity or multi");
  if (type != "string_check" && type != "text_similarity" && type != "multi")
    fields.refuse("type", "must be string_check, text_similarity or multi");
  return type;
}

SingleGrader read_single(const json::value& value, const std::string& param) {
  const Fields fields(value, param);
  const std::string type = runnable_type(fields);
  if (type == "multi") fields.refuse("type", "must be string_check or text_similarity: a multi grader holds no other");
  if (type == "string_check") return read_string_check(fields);
  return read_text_similarity(fields);
}

MultiGrader read_multi(const Fields& fields) {
  fields.allow_only({"type", "name", "graders", "calculate_output"});
  std::string name = fields.name();
  const json::value& value = fields.required("graders");
  const json::object* object = value.if_object();
  if (!object) fields.refuse("graders", "must be an object of graders by name");
  std::vector<std::string> keys;
  std::vector<SingleGrader> graders;
  const json::value* type = object->if_contains("type");
  if (type && type->is_string()) {
    const Fields only(value, fields.path("graders"));
    graders.push_back(read_single(value, fields.path("graders")));
    keys.push_back(only.name());
    if (!is_formula_name(keys[0])) only.refuse("name", "must be a name that calculate_output can call: letters, digits and '_'");
  } else {
    if (object->empty() || object->size() > kMostGraders)
      fields.refuse("graders", "must hold 1 to " + std::to_string(kMostGraders) + " graders");
    for (const auto& [key, one] : *object) {
      if (!is_formula_name(key))
        fields.refuse("graders", "must have keys that calculate_output can call: letters, digits and '_', at most 64, no function's name");
      graders.push_back(read_single(one, fields.path("graders") + "." + std::string(key)));
      keys.emplace_back(key);
    }
  }
  Formula formula(fields.text("calculate_output"), keys, fields.path("calculate_output"));
  return {std::move(name), std::move(keys), std::move(graders), std::move(formula)};
}

}  // namespace

Grader parse_grader(const json::value& value, const std::string& param) {
  const Fields fields(value, param);
  const std::string type = runnable_type(fields);
  if (type == "string_check") return read_string_check(fields);
  if (type == "text_similarity") return read_text_similarity(fields);
  return read_multi(fields);
}

}  // namespace finetuned::graders
