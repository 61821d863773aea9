#include "services/gateway/graders/words.h"

#include <utf8proc.h>

#include <array>
#include <map>

namespace finetuned::graders {

namespace {

constexpr char32_t kReplacement = 0xFFFD;

enum class Kind { kBlank, kWord, kAlone, kSymbol };

bool is_written_without_blanks(char32_t c) {
  return (c >= 0x3041 && c <= 0x3096) || (c >= 0x30A1 && c <= 0x30FA) || (c >= 0x3400 && c <= 0x4DBF) ||
         (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x20000 && c <= 0x3FFFF);
}

Kind kind_of(char32_t c) {
  if (is_written_without_blanks(c)) return Kind::kAlone;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO: return Kind::kWord;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF: return Kind::kBlank;
    default: return Kind::kSymbol;
  }
}

}  // namespace

std::u32string code_points(std::string_view text) {
  std::u32string points;
  points.reserve(text.size());
  const auto* at = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  auto left = static_cast<utf8proc_ssize_t>(text.size());
  while (left > 0) {
    utf8proc_int32_t point = 0;
    utf8proc_ssize_t used = utf8proc_iterate(at, left, &point);
    if (used <= 0) {
      point = static_cast<utf8proc_int32_t>(kReplacement);
      used = 1;
    }
    points.push_back(static_cast<char32_t>(point));
    at += used;
    left -= used;
  }
  return points;
}

std::string fold_case(std::string_view text) {
  std::string folded;
  folded.reserve(text.size());
  for (const char32_t point : code_points(text)) {
    std::array<utf8proc_int32_t, 8> parts{};
    int last = 0;
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(point), parts.data(),
                                static_cast<utf8proc_ssize_t>(parts.size()), UTF8PROC_CASEFOLD, &last);
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      std::array<utf8proc_uint8_t, 4> bytes{};
      const utf8proc_ssize_t size = utf8proc_encode_char(parts[static_cast<std::size_t>(i)], bytes.data());
      folded.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(size));
    }
  }
  return folded;
}

std::vector<std::u32string> words_of(std::string_view text, WordRule rule) {
  const std::u32string points = rule == WordRule::kFolded ? code_points(fold_case(text)) : code_points(text);
  std::vector<std::u32string> words;
  bool in_word = false;
  for (const char32_t point : points) {
    const Kind kind = kind_of(point);
    if (kind == Kind::kWord && in_word) {
      words.back().push_back(point);
    } else if (kind == Kind::kWord || kind == Kind::kAlone || (kind == Kind::kSymbol && rule == WordRule::kWithSymbols)) {
      words.emplace_back(1, point);
    }
    in_word = kind == Kind::kWord;
  }
  return words;
}

NumberedWords number_words(std::string_view input, std::string_view reference, WordRule rule) {
  std::map<std::u32string, std::uint32_t> numbers;  // ordered: no text makes it slow
  const auto number = [&](std::string_view text) {
    std::vector<std::uint32_t> numbered;
    for (std::u32string& word : words_of(text, rule))
      numbered.push_back(numbers.emplace(std::move(word), static_cast<std::uint32_t>(numbers.size())).first->second);
    return numbered;
  };
  NumberedWords both;
  both.input = number(input);
  both.reference = number(reference);
  return both;
}

}  // namespace finetuned::graders
