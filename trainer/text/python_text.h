#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace finetuned::text {

/// Python's str methods on UTF-8 text. Case mapping is character by character (with ß -> SS).
bool is_python_space(char32_t c);
std::size_t character_count(std::string_view text);
/// text[start:stop:step] by characters. `step` is not 0; absent bounds are Python's defaults.
std::string slice_characters(std::string_view text, std::optional<std::int64_t> start,
                             std::optional<std::int64_t> stop, std::int64_t step);
/// The character at a Python index (negative from the end); absent beyond the text.
std::optional<std::string> character_at(std::string_view text, std::int64_t index);
std::string_view strip_left(std::string_view text, std::optional<std::string_view> characters);
std::string_view strip_right(std::string_view text, std::optional<std::string_view> characters);
std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string title(std::string_view text);        ///< str.title(): every run of letters
std::string title_words(std::string_view text);  ///< Jinja's title filter: after white space and -({[<
/// str.split(): at white space where `separator` is absent; at most `most` cuts where it is not negative.
std::vector<std::string> split(std::string_view text, std::optional<std::string_view> separator,
                               std::int64_t most);
/// str.replace(): at most `most` times where it is not negative; stops once the result is longer than
/// `longest`.
std::string replace(std::string_view text, std::string_view old_text, std::string_view new_text,
                    std::int64_t most, std::size_t longest);

/// Python's slice indices: the elements of [0, size) that start:stop:step takes, in order.
std::vector<std::size_t> slice_indices(std::size_t size, std::optional<std::int64_t> start,
                                       std::optional<std::int64_t> stop, std::int64_t step);

}  // namespace finetuned::text
