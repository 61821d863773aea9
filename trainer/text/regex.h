#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace finetuned::text {

/// Where a match lies: [begin, end) in bytes.
struct Match {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// A tokenizer's regular expression, with Unicode classes and look-ahead (PCRE2, compiled to machine code
/// where it can be). Read as Oniguruma reads it, which Hugging Face uses: `^` and `$` stand at line ends,
/// `\s` holds U+0085. Immutable; any thread may search.
class Regex {
 public:
  /// Throws base::FormatError naming `file` and `field` for a pattern that does not compile.
  Regex(const std::string& file, const std::string& field, std::string_view pattern);
  Regex(Regex&&) noexcept;
  ~Regex();

  /// One thread's searches in one text.
  class Search {
   public:
    /// `text` is valid UTF-8 and outlives the search.
    Search(const Regex& regex, std::string_view text);
    ~Search();
    /// The first match that begins at or after `from`, an empty one included; absent for none. Throws
    /// base::FormatError where the pattern needs more than the match limit's steps on this text.
    std::optional<Match> next(std::size_t from);

   private:
    const Regex& regex_;
    std::string_view text_;
  };

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

}  // namespace finetuned::text
