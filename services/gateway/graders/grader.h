#pragma once

#include <string>
#include <variant>
#include <vector>

#include "services/gateway/graders/formula.h"
#include "services/gateway/graders/string_check.h"
#include "services/gateway/graders/templates.h"
#include "services/gateway/graders/text_similarity.h"

namespace finetuned::graders {

/// The graders that run here, read by grader_parse.h. OpenAI's score_model, label_model and python are not among them.

struct StringCheck {
  std::string name;
  Template input;
  Template reference;
  StringOperation operation = StringOperation::kEq;
};

struct TextSimilarity {
  std::string name;
  Template input;
  Template reference;
  Metric metric = Metric::kFuzzyMatch;
};

using SingleGrader = std::variant<StringCheck, TextSimilarity>;

struct MultiGrader {
  std::string name;
  std::vector<std::string> keys;  ///< what the formula calls the graders, in their order
  std::vector<SingleGrader> graders;
  Formula formula;
};

using Grader = std::variant<StringCheck, TextSimilarity, MultiGrader>;

}  // namespace finetuned::graders
