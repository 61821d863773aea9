#include <algorithm>
#include <cstdlib>
#include <memory>
#include <utf8proc.h>

#include "base/errors.h"
#include "trainer/text/normalizer.h"
#include "trainer/text/utf8.h"

namespace finetuned::text {

namespace {

constexpr std::size_t kMarksInPiece = 64;  // utf8proc sorts marks by insertion: quadratic in their number

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// Characters that begin a stretch of their own: no mark, and never the second part of a composition.
bool stands_alone(char32_t c) {
  return c < 0x300 || (c >= 0x388 && c <= 0x482) || (c >= 0x48A && c <= 0x52F) ||
         (c >= 0x3041 && c <= 0x3096) || (c >= 0x30A1 && c <= 0x30FA) || (c >= 0x3400 && c <= 0x9FFF) ||
         (c >= 0xAC00 && c <= 0xD7A3);
}

std::string composed(std::string_view piece) {
  utf8proc_uint8_t* out = nullptr;
  const utf8proc_ssize_t size = utf8proc_map(
      reinterpret_cast<const utf8proc_uint8_t*>(piece.data()), static_cast<utf8proc_ssize_t>(piece.size()),
      &out, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (size < 0) throw base::FormatError("tokenizer.json", "normalizer", utf8proc_errmsg(size));
  const std::unique_ptr<utf8proc_uint8_t, Free> owner(out);
  return std::string(reinterpret_cast<const char*>(out), static_cast<std::size_t>(size));
}

void append_piece(AlignedText& out, const AlignedText& text, std::size_t begin, std::size_t end) {
  const std::string_view piece = text.text().substr(begin, end - begin);
  const std::string form = composed(piece);
  if (form == piece) return out.append(text, begin, end);
  // The common beginning and end keep their exact places; cuts fall between characters.
  const auto boundary = [](std::string_view s, std::size_t at) {
    return at == s.size() || (static_cast<unsigned char>(s[at]) & 0xC0) != 0x80;
  };
  const std::size_t shorter = std::min(form.size(), piece.size());
  std::size_t front = 0;
  while (front < shorter && form[front] == piece[front])
    ++front;
  while (front > 0 && !(boundary(form, front) && boundary(piece, front)))
    --front;
  std::size_t back = 0;
  while (back < shorter - front && form[form.size() - 1 - back] == piece[piece.size() - 1 - back])
    ++back;
  while (back > 0 && !(boundary(form, form.size() - back) && boundary(piece, piece.size() - back)))
    --back;
  const std::size_t changed_end = end - back;
  out.append(text, begin, begin + front);
  const std::uint32_t place = begin + front < text.text().size() ? text.begin_of(begin + front) : text.base();
  const std::uint32_t place_end = changed_end > begin + front ? text.end_of(changed_end - 1) : place;
  out.append(std::string_view(form).substr(front, form.size() - front - back), place, place_end);
  out.append(text, changed_end, end);
}

// The end of the stretch that begins at `at`, and whether it can change at all.
std::size_t stretch_end(std::string_view text, std::size_t at, bool& may_change) {
  may_change = false;
  std::size_t marks = 0;
  Utf8Character character = read_utf8(text, at);
  at += character.size;
  may_change = !stands_alone(character.code_point);
  while (at < text.size()) {
    character = read_utf8(text, at);
    if (stands_alone(character.code_point)) break;
    may_change = true;
    const bool mark =
        utf8proc_get_property(static_cast<utf8proc_int32_t>(character.code_point))->combining_class != 0;
    marks = mark ? marks + 1 : 0;
    if (marks > kMarksInPiece) break;
    at += character.size;
  }
  return at;
}

}  // namespace

AlignedText normalize_nfc(AlignedText text) {
  const std::string_view from = text.text();
  // U+0300 begins with the byte 0xCC: text below it is in form C already.
  if (std::none_of(from.begin(), from.end(), [](char c) { return static_cast<unsigned char>(c) >= 0xCC; }))
    return text;
  AlignedText out({}, text.base());
  bool copying = false;
  std::size_t copied = 0;
  for (std::size_t at = 0; at < from.size();) {
    bool may_change = false;
    const std::size_t end = stretch_end(from, at, may_change);
    if (may_change && composed(from.substr(at, end - at)) != from.substr(at, end - at)) {
      if (!copying) out = AlignedText::empty(text.base(), from.size() + 16);
      copying = true;
      out.append(text, copied, at);
      append_piece(out, text, at, end);
      copied = end;
    }
    at = end;
  }
  if (!copying) return text;
  out.append(text, copied, from.size());
  return out;
}

}  // namespace finetuned::text
