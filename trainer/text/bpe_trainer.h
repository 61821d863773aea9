#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace finetuned::text {

/// How to train a byte-level BPE vocabulary.
struct BpeTrainerOptions {
  std::int32_t vocabulary_size = 512;  ///< all tokens: 256 bytes, merges and special tokens
  /// Put behind the merges, in this order, as special tokens.
  std::vector<std::string> special_tokens{"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  std::string bos_token;  ///< one of special_tokens; empty for none
  std::string eos_token{"<|im_end|>"};
  std::string pad_token{"<|endoftext|>"};
  bool add_bos = false;       ///< encode() puts bos in front
  std::string chat_template;  ///< Jinja text for tokenizer_config.json; empty leaves it out
  std::int64_t model_max_length = 2048;
};

/// Byte-pair merges learnt from `text`, most frequent first; pieces are spelt in GPT-2's printable byte
/// alphabet. Words are split as Qwen2 splits them. Ties go to the pair whose pieces come first in byte order,
/// so that the same text and options give the same merges on every machine. Stops early where no pair occurs
/// twice. `text` must be UTF-8; O(n + merges x touched words).
std::vector<std::pair<std::string, std::string>> train_bpe_merges(std::string_view text, std::int32_t merges);

/// Trains and writes `tokenizer.json` and `tokenizer_config.json` into `directory` (which exists), byte for
/// byte the same for the same input. Throws base::UsageError for options that cannot be (a vocabulary below
/// 256 + specials).
void train_bpe_tokenizer(std::string_view text, const BpeTrainerOptions& options,
                         const std::filesystem::path& directory);

}  // namespace finetuned::text
