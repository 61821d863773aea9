#include "services/gateway/graders/string_check.h"

#include <cstring>

#include "services/gateway/graders/words.h"

namespace finetuned::graders {

namespace {

/// memmem is two-way search: linear whatever the texts are, which string_view::find is not.
bool contains(std::string_view text, std::string_view part) {
  return part.empty() || (!text.empty() && ::memmem(text.data(), text.size(), part.data(), part.size()) != nullptr);
}

bool holds(StringOperation operation, std::string_view input, std::string_view reference) {
  switch (operation) {
    case StringOperation::kEq: return input == reference;
    case StringOperation::kNe: return input != reference;
    case StringOperation::kLike: return contains(input, reference);
    case StringOperation::kIlike: return contains(fold_case(input), fold_case(reference));
  }
  return false;
}

}  // namespace

double string_check(StringOperation operation, std::string_view input, std::string_view reference) {
  return holds(operation, input, reference) ? 1 : 0;
}

}  // namespace finetuned::graders
