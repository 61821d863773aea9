#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace finetuned::text {

class TokenizerModel;

/// What encode() does beyond splitting the text.
struct EncodeOptions {
  bool add_special =
      true;  ///< bos and eos as the model's files say; false adds none (a rendered chat has its own)
  bool parse_special =
      true;  ///< the text of a special token (`<|im_end|>`) becomes its id; false spells it out
};

/// One token and the bytes of the input that it stands for: [begin, end). A token that stands for none
/// (bos, the space that SentencePiece puts in front) has begin == end.
struct TokenSpan {
  std::int32_t id = 0;
  std::uint32_t begin = 0;
  std::uint32_t end = 0;
};

/// A Hugging Face `tokenizer.json` with `tokenizer_config.json`: byte-level BPE (GPT-2, Llama 3, Qwen2,
/// DeepSeek) and SentencePiece-style BPE with byte fallback (Llama 2). Immutable after load; copies share one
/// model; any thread may call any const member. Equals Hugging Face's fast tokenizers id for id on valid
/// UTF-8; bytes that are not UTF-8 are encoded one by one, so that byte-level BPE without a normalizer
/// round-trips any bytes.
class Tokenizer {
 public:
  /// Throws base::FormatError, naming file and field, where a file is missing or broken, or asks for what
  /// this engine lacks (another model than BPE, an unknown normalizer, pre-tokenizer, decoder or
  /// post-processor).
  static Tokenizer load(const std::filesystem::path& model_dir);

  /// Time is O(n log n) in the text's bytes, whatever they are. At most 2 GiB of text.
  std::vector<std::int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  /// As encode(), with the place of each token in `text`. Places never decrease.
  std::vector<TokenSpan> encode_spans(std::string_view text, const EncodeOptions& options = {}) const;

  /// The exact bytes that the ids stand for: not valid UTF-8 where the ids cut a character (see
  /// to_valid_utf8). Ids outside the vocabulary give nothing. `skip_special` leaves the special tokens' text
  /// out.
  std::string decode(std::span<const std::int32_t> ids, bool skip_special = true) const;

  std::int32_t vocabulary_size() const;  ///< highest id + 1, added tokens counted
  std::optional<std::int32_t> bos_id() const;
  std::optional<std::int32_t> eos_id() const;
  std::optional<std::int32_t> pad_id() const;
  const std::string& bos_text()
      const;  ///< empty where the model has none; what a chat template sees as bos_token
  const std::string& eos_text() const;
  const std::string& pad_text() const;

  bool is_special(std::int32_t id) const;
  /// The id whose vocabulary entry is exactly `piece` (`<|im_end|>`, or `Ġthe` in a byte-level vocabulary).
  std::optional<std::int32_t> id_of(std::string_view piece) const;
  /// The vocabulary entry of an id; empty for an id outside it.
  std::string_view piece_of(std::int32_t id) const;

  /// SHA-256 (hex) over tokenizer.json, tokenizer_config.json, the chat template and this engine's way of
  /// turning rows into tokens: equal fingerprints give equal token counts for every row.
  const std::string& fingerprint() const;

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::shared_ptr<const TokenizerModel> model) : model_(std::move(model)) {}
  std::shared_ptr<const TokenizerModel> model_;
};

/// Decodes ids as they come, for streaming: what it hands out is always whole, valid UTF-8 characters; bytes
/// that can no longer become one are handed out as U+FFFD. The pieces concatenated are
/// to_valid_utf8(decode(ids)).
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true)
      : model_(tokenizer.model_), skip_special_(skip_special) {}
  std::string push(std::int32_t id);  ///< the text that became certain; often empty
  std::string finish();               ///< what was held back, at the end of the ids

 private:
  std::shared_ptr<const TokenizerModel> model_;
  bool skip_special_;
  bool at_start_ = true;
  std::string held_;
};

}  // namespace finetuned::text
