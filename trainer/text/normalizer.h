#pragma once

#include <memory>
#include <string>
#include <vector>

#include "trainer/text/aligned_text.h"
#include "trainer/text/json_node.h"
#include "trainer/text/regex.h"

namespace finetuned::text {

/// tokenizer.json's `normalizer`: NFC, Prepend, Replace (of a string or a regex), and a Sequence of them.
class Normalizer {
 public:
  Normalizer() = default;  ///< changes nothing
  /// Throws base::FormatError for another type.
  explicit Normalizer(const JsonNode& node);

  /// `text` is valid UTF-8. Runs of more than 64 combining marks are put in order in pieces of 64, so that
  /// the time stays linear.
  AlignedText run(AlignedText text) const;

 private:
  struct Step {
    enum class Kind { kNfc, kPrepend, kReplace, kReplaceRegex } kind;
    std::string pattern;
    std::string content;
    std::shared_ptr<const Regex> regex;
  };
  void add(const JsonNode& node, int depth);
  static AlignedText replace(const Step& step, AlignedText text);
  static AlignedText replace_regex(const Step& step, AlignedText text);
  std::vector<Step> steps_;
};

/// Unicode normalization form C (utf8proc) of valid UTF-8, each changed stretch aligned as a whole.
AlignedText normalize_nfc(AlignedText text);

}  // namespace finetuned::text
