#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "trainer/text/json_node.h"

namespace finetuned::text {

/// tokenizer.json's `decoder`: ByteLevel, or SentencePiece's Sequence of Replace, ByteFallback, Fuse and
/// Strip, or Metaspace. Every token is decoded alone; what is left over is cut from the beginning of the
/// whole text.
class PieceDecoder {
 public:
  PieceDecoder() = default;  ///< pieces stand for themselves
  /// Throws base::FormatError for another type.
  explicit PieceDecoder(const JsonNode& node);

  std::string bytes_of(std::string_view piece) const;
  /// How many times `strip_content()` is cut from the start of a decoded text, at most.
  std::size_t strip_start() const { return strip_start_; }
  char strip_content() const { return strip_content_; }

 private:
  void add(const JsonNode& node, int depth);

  bool byte_level_ = false;
  bool byte_fallback_ = false;
  bool fused_ = false;
  std::string replaced_;
  std::string replacement_;
  std::size_t strip_start_ = 0;
  char strip_content_ = ' ';
};

}  // namespace finetuned::text
