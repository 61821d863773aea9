#pragma once

#include <cstddef>
#include <string>

#include "base/json.h"
#include "services/gateway/graders/grader.h"

namespace finetuned::graders {

inline constexpr std::size_t kMostGraders = 16;  ///< in a multi grader
inline constexpr std::size_t kMostNameBytes = 256;

/// Reads a grader strictly. `param` is where it stands in the body. `graders` of a multi grader is an object of graders by the
/// names that the formula calls them, or one grader (as OpenAI's specification has it), called by its own `name`.
/// Throws ApiError 400 naming the field at fault: `missing_required_parameter`, `unknown_parameter`, `invalid_value`,
/// `invalid_template`, `invalid_formula`, and `unsupported_grader` for score_model, label_model, python and `cosine`.
Grader parse_grader(const base::json::value& value, const std::string& param);

}  // namespace finetuned::graders
