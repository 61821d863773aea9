#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace finetuned::graders {

/// The code points of UTF-8; what is no UTF-8 becomes U+FFFD.
std::u32string code_points(std::string_view text);

/// Unicode's full case folding (`Straße` is `strasse`), in UTF-8. Not normalised: a letter and its decomposed form differ.
std::string fold_case(std::string_view text);

/// How a text falls into words. A word is a run of letters, marks and numbers; each character of a script that is written
/// without blanks (Han, Hiragana, Katakana) is one of its own.
enum class WordRule {
  kFolded,      ///< case folded, all else left out: ROUGE, METEOR
  kWithSymbols  ///< case kept, and every other character but blanks and controls a word of its own: BLEU, GLEU
};

std::vector<std::u32string> words_of(std::string_view text, WordRule rule);

/// Two texts as numbers: equal words have equal numbers, counted from 0 without a gap.
struct NumberedWords {
  std::vector<std::uint32_t> input;
  std::vector<std::uint32_t> reference;
};
NumberedWords number_words(std::string_view input, std::string_view reference, WordRule rule);

}  // namespace finetuned::graders
