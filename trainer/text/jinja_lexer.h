#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/text/jinja_value.h"

namespace finetuned::text::jinja {

struct Token {
  enum class Kind {
    kData,  ///< text between tags, white space control already applied
    kOutputBegin,
    kOutputEnd,
    kTagBegin,
    kTagEnd,
    kName,
    kString,
    kNumber,
    kOperator,
    kEnd,
  };
  Kind kind = Kind::kEnd;
  std::string text;  ///< data, name, operator, or the string's value
  Value number;      ///< of kNumber
  std::size_t offset = 0;
};

/// Cuts a template's source into tokens as Jinja2 does with trim_blocks and lstrip_blocks set: comments
/// vanish, `-` and
/// `+` at tags are obeyed, one line end at the end of the source is dropped. Throws base::FormatError.
std::vector<Token> tokenize(const std::string& file, std::string_view source);

/// Throws base::FormatError for the template of `file`.
[[noreturn]] void refuse(const std::string& file, const std::string& message, std::size_t offset);

}  // namespace finetuned::text::jinja
