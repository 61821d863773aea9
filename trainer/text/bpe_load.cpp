#include <algorithm>
#include <bit>
#include <cstdio>
#include <limits>

#include "trainer/text/bpe.h"
#include "trainer/text/byte_alphabet.h"

namespace finetuned::text {

namespace {

constexpr std::int64_t kMostIds = 4'000'000;
constexpr std::string_view kMetaspace = "\xE2\x96\x81";

// True where a U+2581 stands behind another character.
bool metaspace_inside(std::string_view piece) {
  bool after_other = false;
  for (std::size_t at = 0; at < piece.size();) {
    const bool metaspace = piece.substr(at).starts_with(kMetaspace);
    if (metaspace && after_other) return true;
    after_other = after_other || !metaspace;
    at += metaspace ? kMetaspace.size() : 1;
  }
  return false;
}

}  // namespace

BpeModel::BpeModel(const JsonNode& node, bool byte_level) : byte_level_(byte_level) {
  if (node.find("type") && node.at("type").string() != "BPE")
    node.at("type").refuse("the model '" + node.at("type").string() + "' is not supported; known is BPE");
  if (node.find("dropout")) node.at("dropout").refuse("dropout is not supported; set it to null");
  for (const char* affix : {"continuing_subword_prefix", "end_of_word_suffix"})
    if (const auto text = node.find(affix); text && !text->string().empty()) text->refuse("is not supported");
  ignore_merges_ = node.flag("ignore_merges", false);
  byte_fallback_ = node.flag("byte_fallback", false);
  fuse_unknown_ = node.flag("fuse_unk", false);
  read_vocabulary(node.at("vocab"));
  read_merges(node.at("merges"));
  read_fallbacks(node);
}

void BpeModel::read_vocabulary(const JsonNode& node) {
  std::int64_t highest = -1;
  const auto& entries = node.object();
  for (const auto& [piece, id] : entries) {
    if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() >= kMostIds)
      node.at(std::string_view(piece.data(), piece.size())).refuse("an id from 0 to 3999999 is expected");
    highest = std::max(highest, id.get_int64());
  }
  pieces_.resize(static_cast<std::size_t>(highest + 1));
  std::vector<bool> taken(pieces_.size());
  for (const auto& [piece, id] : entries) {
    const auto place = static_cast<std::size_t>(id.get_int64());
    if (taken[place]) node.refuse("the id " + std::to_string(place) + " stands twice");
    taken[place] = true;
    pieces_[place] = std::string(piece.data(), piece.size());
  }
  ids_.reserve(pieces_.size());
  for (std::size_t i = 0; i < pieces_.size(); ++i)
    if (taken[i]) ids_.emplace(pieces_[i], static_cast<std::int32_t>(i));
  if (!ignore_merges_) return;
  for (const auto& [piece, id] : ids_) {
    if (!byte_level_)
      whole_words_.emplace(piece, id);
    else if (std::optional<std::string> bytes = from_printable(piece))
      whole_words_.emplace(std::move(*bytes), id);
  }
}

void BpeModel::read_merges(const JsonNode& node) {
  const std::size_t count = node.size();
  merges_.resize(std::bit_ceil(std::max<std::size_t>(16, count * 2)));
  mask_ = merges_.size() - 1;
  cut_before_metaspace_ = !byte_level_ && id_of(kMetaspace).has_value();
  for (std::size_t i = 0; i < count; ++i) {
    const JsonNode merge = node.item(i);
    std::string left;
    std::string right;
    if (merge.is_string()) {
      left = merge.string();
      const std::size_t space = left.find(' ');
      if (space == std::string::npos || left.find(' ', space + 1) != std::string::npos)
        merge.refuse("two pieces with one space between them are expected");
      right = left.substr(space + 1);
      left.resize(space);
    } else {
      if (merge.size() != 2) merge.refuse("two pieces are expected");
      left = merge.item(0).string();
      right = merge.item(1).string();
    }
    const auto left_id = id_of(left);
    const auto right_id = id_of(right);
    const std::string joined = left + right;
    const auto id = id_of(joined);
    if (!left_id || !right_id || !id)
      merge.refuse("'" + (!left_id ? left : !right_id ? right : joined) + "' is not in the vocabulary");
    if (cut_before_metaspace_ && metaspace_inside(joined)) cut_before_metaspace_ = false;
    insert({static_cast<std::uint64_t>(*left_id) << 32 | static_cast<std::uint32_t>(*right_id),
            static_cast<std::uint32_t>(i), *id});
  }
  if (ignore_merges_) cut_before_metaspace_ = false;
}

void BpeModel::read_fallbacks(const JsonNode& node) {
  bytes_.assign(256, -1);
  for (int byte = 0; byte < 256; ++byte) {
    std::string name;
    if (byte_level_) {
      const char one = static_cast<char>(byte);
      name = to_printable(std::string_view(&one, 1));
    } else if (byte_fallback_) {
      char hex[8];
      std::snprintf(hex, sizeof hex, "<0x%02X>", static_cast<unsigned>(byte));
      name = hex;
    }
    if (const auto id = id_of(name); id && !name.empty()) bytes_[static_cast<std::size_t>(byte)] = *id;
  }
  if (const auto unknown = node.find("unk_token")) {
    unknown_ = id_of(unknown->string());
    if (!unknown_) unknown->refuse("'" + unknown->string() + "' is not in the vocabulary");
  }
}

}  // namespace finetuned::text
