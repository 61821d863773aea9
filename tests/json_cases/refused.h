#pragma once

#include <string>
#include <vector>

namespace finetuned::tests {

/// An object that a lenient reader of JSON may take, and that is refused wherever JSON comes in.
struct RefusedJson {
  std::string name;
  std::string text;
  std::string why;  ///< a part of the message that base::parse_json gives
};

const std::vector<RefusedJson>& refused_json();

}  // namespace finetuned::tests
