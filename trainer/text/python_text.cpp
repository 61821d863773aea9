#include "trainer/text/python_text.h"

#include <algorithm>
#include <utf8proc.h>

#include "trainer/text/utf8.h"

namespace finetuned::text {

namespace {

// Reads a character, or a broken byte as itself, so that loops always advance.
Utf8Character step(std::string_view text, std::size_t at) {
  const Utf8Character character = read_utf8(text, at);
  return character.size > 0 ? character : Utf8Character{static_cast<unsigned char>(text[at]), 1};
}

bool is_letter(char32_t c) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT;
}

void append_upper(std::string& out, char32_t c) {
  if (c == 0xDF)
    out += "SS";
  else
    append_utf8(out, static_cast<char32_t>(utf8proc_toupper(static_cast<utf8proc_int32_t>(c))));
}

void append_title(std::string& out, char32_t c) {
  if (c == 0xDF)
    out += "Ss";
  else
    append_utf8(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
}

void append_lower(std::string& out, char32_t c) {
  append_utf8(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
}

bool strips(char32_t c, std::optional<std::string_view> characters) {
  if (!characters) return is_python_space(c);
  for (std::size_t at = 0; at < characters->size();) {
    const Utf8Character one = step(*characters, at);
    if (one.code_point == c) return true;
    at += one.size;
  }
  return false;
}

std::vector<std::size_t> character_starts(std::string_view text) {
  std::vector<std::size_t> starts;
  for (std::size_t at = 0; at < text.size(); at += step(text, at).size)
    starts.push_back(at);
  return starts;
}

}  // namespace

bool is_python_space(char32_t c) {
  return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::size_t character_count(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::vector<std::size_t> slice_indices(std::size_t size, std::optional<std::int64_t> start,
                                       std::optional<std::int64_t> stop, std::int64_t step_by) {
  const auto count = static_cast<std::int64_t>(size);
  const bool forward = step_by > 0;
  const std::int64_t low = forward ? 0 : -1;
  const std::int64_t high = forward ? count : count - 1;
  const auto bound = [&](std::optional<std::int64_t> given, std::int64_t otherwise) {
    if (!given) return otherwise;
    const std::int64_t place = *given < 0 ? std::max(*given, -count - 1) + count : *given;
    return std::clamp(place, low, std::max(low, high));
  };
  const std::int64_t from = bound(start, forward ? low : high);
  const std::int64_t to = bound(stop, forward ? high : low);
  step_by = std::clamp(step_by, -count - 1, count + 1);
  std::vector<std::size_t> indices;
  for (std::int64_t i = from; forward ? i < to : i > to; i += step_by)
    indices.push_back(static_cast<std::size_t>(i));
  return indices;
}

std::string slice_characters(std::string_view text, std::optional<std::int64_t> start,
                             std::optional<std::int64_t> stop, std::int64_t step_by) {
  const std::vector<std::size_t> starts = character_starts(text);
  std::string out;
  for (const std::size_t i : slice_indices(starts.size(), start, stop, step_by)) {
    const std::size_t end = i + 1 < starts.size() ? starts[i + 1] : text.size();
    out += text.substr(starts[i], end - starts[i]);
  }
  return out;
}

std::optional<std::string> character_at(std::string_view text, std::int64_t index) {
  const auto count = static_cast<std::int64_t>(character_count(text));
  if (index < 0) index += count;
  if (index < 0 || index >= count) return std::nullopt;
  return slice_characters(text, index, index + 1, 1);
}

std::string_view strip_left(std::string_view text, std::optional<std::string_view> characters) {
  while (!text.empty()) {
    const Utf8Character first = step(text, 0);
    if (!strips(first.code_point, characters)) break;
    text.remove_prefix(first.size);
  }
  return text;
}

std::string_view strip_right(std::string_view text, std::optional<std::string_view> characters) {
  while (!text.empty()) {
    std::size_t at = text.size() - 1;
    while (at > 0 && text.size() - at < 4 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80)
      --at;
    if (!strips(step(text, at).code_point, characters)) break;
    text = text.substr(0, at);
  }
  return text;
}

std::string upper(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Character c = step(text, at);
    append_upper(out, c.code_point);
    at += c.size;
  }
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Character c = step(text, at);
    append_lower(out, c.code_point);
    at += c.size;
  }
  return out;
}

std::string title(std::string_view text) {
  std::string out;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Character c = step(text, at);
    if (inside)
      append_lower(out, c.code_point);
    else
      append_title(out, c.code_point);
    inside = is_letter(c.code_point);
    at += c.size;
  }
  return out;
}

std::string title_words(std::string_view text) {
  std::string out;
  bool inside = false;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Character c = step(text, at);
    const bool cut = is_python_space(c.code_point) ||
                     std::u32string_view(U"-({[<").find(c.code_point) != std::u32string_view::npos;
    if (cut)
      append_utf8(out, c.code_point);
    else if (inside)
      append_lower(out, c.code_point);
    else
      append_upper(out, c.code_point);
    inside = !cut;
    at += c.size;
  }
  return out;
}

std::vector<std::string> split(std::string_view text, std::optional<std::string_view> separator,
                               std::int64_t most) {
  std::vector<std::string> parts;
  if (separator) {
    std::size_t done = 0;
    for (std::size_t found = text.find(*separator);
         found != std::string_view::npos && (most < 0 || std::ssize(parts) < most);
         found = text.find(*separator, done)) {
      parts.emplace_back(text.substr(done, found - done));
      done = found + separator->size();
    }
    parts.emplace_back(text.substr(done));
    return parts;
  }
  text = strip_left(text, std::nullopt);
  while (!text.empty()) {
    if (most >= 0 && std::ssize(parts) == most) {
      parts.emplace_back(text);
      break;
    }
    std::size_t end = 0;
    while (end < text.size() && !is_python_space(step(text, end).code_point))
      end += step(text, end).size;
    parts.emplace_back(text.substr(0, end));
    text = strip_left(text.substr(end), std::nullopt);
  }
  return parts;
}

std::string replace(std::string_view text, std::string_view old_text, std::string_view new_text,
                    std::int64_t most, std::size_t longest) {
  std::string out;
  std::int64_t made = 0;
  if (old_text.empty()) {  // Python puts the new text between all characters
    for (std::size_t at = 0; at <= text.size() && out.size() <= longest; ++made) {
      if (most < 0 || made < most) out += new_text;
      if (at == text.size()) break;
      const std::size_t size = step(text, at).size;
      out += text.substr(at, size);
      at += size;
    }
    return out;
  }
  std::size_t done = 0;
  for (std::size_t found = text.find(old_text);
       found != std::string_view::npos && (most < 0 || made < most) && out.size() <= longest;
       found = text.find(old_text, done), ++made) {
    out += text.substr(done, found - done);
    out += new_text;
    done = found + old_text.size();
  }
  out += text.substr(done);
  return out;
}

}  // namespace finetuned::text
