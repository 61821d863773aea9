#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trainer/text/json_node.h"

namespace finetuned::text {

/// One entry of tokenizer.json's `added_tokens`.
struct AddedToken {
  std::int32_t id = 0;
  std::string content;
  bool single_word = false;  ///< only where no letter, digit or underscore touches it
  bool lstrip = false;       ///< takes the white space before it along
  bool rstrip = false;
  bool normalized = false;  ///< looked for after the normalizer instead of before
  bool special = false;
};

/// Throws base::FormatError.
std::vector<AddedToken> read_added_tokens(const JsonNode& list);

/// Finds added tokens in a text: the leftmost, of those the longest.
class AddedTokenFinder {
 public:
  struct Found {
    const AddedToken* token = nullptr;
    std::size_t begin = 0;  ///< with the white space that lstrip takes
    std::size_t end = 0;
  };

  AddedTokenFinder() : nodes_(1) {}
  /// `content` is what stands in the text (the normalized form, where the token is normalized). `token`
  /// outlives this.
  void add(const AddedToken& token, std::string_view content);
  bool empty() const { return nodes_.size() == 1; }
  /// The tokens in `text`, in order. `take_special` false passes special tokens over.
  std::vector<Found> find_all(std::string_view text, bool take_special) const;

 private:
  struct Node {
    std::vector<std::pair<char, std::uint32_t>> next;
    const AddedToken* token = nullptr;
  };
  Found longest_at(std::string_view text, std::size_t at, bool take_special) const;
  std::vector<Node> nodes_;
  bool first_bytes_[256] = {};
};

}  // namespace finetuned::text
