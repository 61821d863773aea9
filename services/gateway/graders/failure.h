#pragma once

#include <stdexcept>
#include <string>

namespace finetuned::graders {

/// Which of the API's `errors` a grading ends with.
enum class FailureKind {
  kInvalidVariable,  ///< a template names what the item or the sample does not hold
  kSampleParse,      ///< a template asks for `sample.output_json` and the sample is no JSON
  kOther             ///< a text beyond its bound; a division by zero or a result that is no finite number
};

/// Ends one grading. What is wrong with a grader whatever it grades is an ApiError of grader_parse.h instead.
struct GradingFailure : std::runtime_error {
  FailureKind kind;
  GradingFailure(FailureKind failed, const std::string& message) : std::runtime_error(message), kind(failed) {}
};

}  // namespace finetuned::graders
