#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "trainer/text/added_tokens.h"
#include "trainer/text/bpe.h"
#include "trainer/text/normalizer.h"
#include "trainer/text/piece_decoder.h"
#include "trainer/text/pre_tokenizer.h"
#include "trainer/text/tokenizer.h"

namespace finetuned::text {

/// One of bos, eos, pad.
struct NamedToken {
  std::string text;
  std::optional<std::int32_t> id;
};

/// What Tokenizer shares: the parts of tokenizer.json, put together. Immutable once loaded.
class TokenizerModel {
 public:
  /// Throws base::FormatError.
  TokenizerModel(const JsonNode& tokenizer, const JsonNode& config);
  TokenizerModel(const TokenizerModel&) = delete;
  TokenizerModel& operator=(const TokenizerModel&) = delete;

  std::vector<TokenSpan> encode(std::string_view text, const EncodeOptions& options) const;

  bool known(std::int32_t id) const { return id >= 0 && static_cast<std::size_t>(id) < decoded_.size(); }
  const std::string& bytes_of(std::int32_t id) const { return decoded_[static_cast<std::size_t>(id)]; }
  bool special(std::int32_t id) const { return known(id) && special_[static_cast<std::size_t>(id)]; }
  const PieceDecoder& decoder() const { return decoder_; }
  std::int32_t size() const { return static_cast<std::int32_t>(decoded_.size()); }
  std::optional<std::int32_t> id_of(std::string_view piece) const;
  std::string_view piece_of(std::int32_t id) const;

  NamedToken bos;
  NamedToken eos;
  NamedToken pad;
  std::string fingerprint;

 private:
  void read_post_processor(const JsonNode& node, int depth);
  void read_template(const JsonNode& node);
  void read_config(const JsonNode& config);
  NamedToken named(const JsonNode& config, const char* key) const;
  void index_added_tokens();
  void fill_decoded();
  void encode_raw(std::string_view text, std::uint32_t base, const EncodeOptions& options,
                  std::vector<TokenSpan>& out) const;
  void encode_valid(AlignedText text, const EncodeOptions& options, std::vector<TokenSpan>& out) const;

  std::vector<AddedToken> added_;
  std::unordered_map<std::string_view, std::int32_t> added_ids_;
  AddedTokenFinder before_normalizer_;
  AddedTokenFinder after_normalizer_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  BpeModel bpe_;
  PieceDecoder decoder_;
  std::vector<std::int32_t> prefix_;  // what add_special puts in front, and behind
  std::vector<std::int32_t> suffix_;
  std::vector<std::string> decoded_;  // by id: its bytes
  std::vector<bool> special_;
};

}  // namespace finetuned::text
