#include "trainer/text/piece_decoder.h"

#include "trainer/text/byte_alphabet.h"

namespace finetuned::text {

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

// The byte of `<0x0A>`; -1 for any other piece.
int fallback_byte(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  const int high = hex_digit(piece[3]);
  const int low = hex_digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

}  // namespace

PieceDecoder::PieceDecoder(const JsonNode& node) {
  add(node, 0);
}

void PieceDecoder::add(const JsonNode& node, int depth) {
  const std::string type = node.at("type").string();
  if (type == "Sequence") {
    if (depth > 4) node.refuse("sequences are nested more than 4 deep");
    const JsonNode list = node.at("decoders");
    for (std::size_t i = 0; i < list.size(); ++i)
      add(list.item(i), depth + 1);
  } else if (type == "ByteLevel") {
    byte_level_ = true;
  } else if (type == "ByteFallback") {
    byte_fallback_ = true;
  } else if (type == "Fuse") {
    fused_ = true;
  } else if (type == "Replace") {
    if (!replaced_.empty()) node.refuse("a second Replace is not supported");
    if (fused_) node.refuse("Replace behind Fuse is not supported");
    replaced_ = node.at("pattern").at("String").string();
    replacement_ = node.at("content").string();
  } else if (type == "Metaspace") {
    replaced_ = node.at("replacement").string();
    replacement_.assign(1, ' ');
    const auto scheme = node.find("prepend_scheme");
    const bool prefixed = node.flag("add_prefix_space", true) && !(scheme && scheme->string() == "never");
    strip_start_ = prefixed ? 1 : 0;
  } else if (type == "Strip") {
    const std::string content = node.at("content").string();
    if (!fused_ || content.size() != 1 || node.at("stop").integer() != 0)
      node.refuse("Strip is supported behind Fuse only, of one ASCII character at the start");
    const std::int64_t start = node.at("start").integer();
    if (start < 0 || start > 16) node.at("start").refuse("0 to 16 is expected");
    strip_start_ = static_cast<std::size_t>(start);
    strip_content_ = content.front();
  } else {
    node.refuse("the decoder '" + type +
                "' is not supported; known are ByteLevel, ByteFallback, Fuse, Metaspace, Replace, Strip and "
                "Sequence");
  }
}

std::string PieceDecoder::bytes_of(std::string_view piece) const {
  if (byte_level_) return from_printable(piece).value_or(std::string(piece));
  std::string out;
  if (byte_fallback_) {
    const int byte = fallback_byte(piece);
    if (byte >= 0) {
      out += static_cast<char>(byte);
      return out;
    }
  }
  std::size_t at = 0;
  while (!replaced_.empty()) {
    const std::size_t found = piece.find(replaced_, at);
    if (found == std::string_view::npos) break;
    out += piece.substr(at, found - at);
    out += replacement_;
    at = found + replaced_.size();
  }
  out += piece.substr(at);
  return out;
}

}  // namespace finetuned::text
