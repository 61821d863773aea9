#pragma once

#include <string>
#include <utility>
#include <vector>

#include "services/gateway/graders/failure.h"
#include "services/gateway/graders/grader.h"

namespace finetuned::graders {

struct Failure {
  FailureKind kind;
  std::string grader;  ///< its key in a multi grader; empty for the grader itself
  std::string message;
};

/// A grader's reward, or 0 and what it failed by.
struct Grading {
  double reward = 0;
  std::vector<std::pair<std::string, double>> sub_rewards;  ///< by key, of the graders in a multi grader that did not fail
  std::vector<Failure> failures;
};

/// Grades one sample. Every grader in a multi grader is run; its formula only where none failed. Takes well under a second for each
/// grader at the bounds of its texts.
Grading run(const Grader& grader, const Sample& sample);

const std::string& name_of(const Grader& grader);
/// As the API calls it: `string_check`.
std::string type_of(const Grader& grader);

}  // namespace finetuned::graders
