#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "trainer/text/aligned_text.h"
#include "trainer/text/json_node.h"
#include "trainer/text/tokenizer.h"

namespace finetuned::text {

/// tokenizer.json's `model` of type BPE. Symbols are merged by rank, ties from the left, in O(n log n) of the
/// word.
class BpeModel {
 public:
  /// `byte_level`: the vocabulary is spelt in GPT-2's byte alphabet. Throws base::FormatError.
  BpeModel(const JsonNode& node, bool byte_level);

  /// Appends the word's tokens. Byte-level words are any bytes; others are valid UTF-8.
  void encode(const Slice& word, std::vector<TokenSpan>& out) const;
  /// Appends the token of one byte that is not UTF-8.
  void encode_byte(std::uint8_t byte, std::uint32_t place, std::vector<TokenSpan>& out) const;

  /// By id: the entry as tokenizer.json spells it; empty for an id without one.
  const std::vector<std::string>& pieces() const { return pieces_; }
  std::optional<std::int32_t> id_of(std::string_view piece) const;

 private:
  struct Symbol {
    std::int32_t id;      // -1: merged into its left neighbour
    std::uint32_t begin;  // bytes of the word
    std::uint32_t end;
    std::uint32_t previous;
    std::uint32_t next;
  };
  struct Merge {
    std::uint64_t pair = kNoPair;  // left id << 32 | right id
    std::uint32_t rank = 0;
    std::int32_t id = 0;
  };
  static constexpr std::uint64_t kNoPair = ~std::uint64_t{0};

  void read_vocabulary(const JsonNode& node);
  void read_merges(const JsonNode& node);
  void read_fallbacks(const JsonNode& node);
  void insert(const Merge& merge);
  const Merge* find(std::int32_t left, std::int32_t right) const;
  void encode_part(const Slice& word, std::vector<TokenSpan>& out) const;
  void byte_symbols(std::string_view text, std::vector<Symbol>& symbols) const;
  void character_symbols(std::string_view text, std::vector<Symbol>& symbols) const;
  void merge_short(std::vector<Symbol>& symbols) const;
  void merge_long(std::vector<Symbol>& symbols) const;

  bool byte_level_;
  bool ignore_merges_ = false;
  bool byte_fallback_ = false;
  bool fuse_unknown_ = false;
  bool cut_before_metaspace_ = false;  // no merge crosses into a U+2581 from the left
  std::optional<std::int32_t> unknown_;
  std::vector<std::string> pieces_;
  std::unordered_map<std::string_view, std::int32_t> ids_;     // into pieces_
  std::unordered_map<std::string, std::int32_t> whole_words_;  // by bytes; filled where merges are ignored
  std::vector<Merge> merges_;                                  // open addressing, a power of two
  std::uint64_t mask_ = 0;
  std::vector<std::int32_t> bytes_;  // by byte: its token, or -1
};

}  // namespace finetuned::text
