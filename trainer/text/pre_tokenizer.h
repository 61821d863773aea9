#pragma once

#include <memory>
#include <string>
#include <vector>

#include "trainer/text/aligned_text.h"
#include "trainer/text/json_node.h"
#include "trainer/text/regex.h"

namespace finetuned::text {

/// Takes the words that a pre-tokenizer makes, in text order. A slice lives as long as the call.
class WordSink {
 public:
  virtual ~WordSink() = default;
  virtual void word(const Slice& slice) = 0;
};

/// tokenizer.json's `pre_tokenizer`: Split (string or regex, every behaviour, invert), ByteLevel, Digits,
/// Metaspace, and a Sequence of them. BPE merges never cross the words it makes.
class PreTokenizer {
 public:
  PreTokenizer() = default;  ///< the whole text is one word
  /// Throws base::FormatError for another type.
  explicit PreTokenizer(const JsonNode& node);

  /// True where the words are bytes, to be looked up in GPT-2's byte alphabet.
  bool byte_level() const { return byte_level_; }
  /// `text` is valid UTF-8 and begins at the input's byte text.base().
  void run(const AlignedText& text, WordSink& sink) const;

 private:
  enum class Behavior { kIsolated, kRemoved, kMergedWithPrevious, kMergedWithNext, kContiguous };
  enum class Prepend { kAlways, kFirst, kNever };
  struct Step {
    enum class Kind { kSplit, kPrefixSpace, kDigits, kMetaspace } kind = Kind::kSplit;
    std::shared_ptr<const Regex> regex;  // kSplit; null where `literal` is searched
    std::string literal;                 // kSplit; kMetaspace: the replacement of the space
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
    bool individual_digits = false;
    Prepend prepend = Prepend::kNever;
    bool split = true;  // kMetaspace
  };
  struct Part {
    std::size_t begin = 0;
    std::size_t end = 0;
    bool match = false;
  };

  void add(const JsonNode& node, int depth);
  void add_split(const JsonNode& node);
  void add_byte_level(const JsonNode& node);
  void add_metaspace(const JsonNode& node);
  void step(std::size_t at, const Slice& slice, WordSink& sink) const;
  void metaspace(std::size_t at, const Slice& slice, WordSink& sink) const;
  void emit(std::size_t at, const Slice& slice, const std::vector<Part>& parts, Behavior behavior,
            WordSink& sink) const;
  void isolate(std::size_t at, const Slice& slice, WordSink& sink) const;
  static std::vector<Part> parts_of(const Step& step, std::string_view text);
  static std::vector<Part> digit_parts(const Step& step, std::string_view text);

  std::vector<Step> steps_;
  bool byte_level_ = false;
};

}  // namespace finetuned::text
