#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"

namespace finetuned::cli {

/// Rows of text, columns aligned by their widest cell (UTF-8 characters), two spaces between; the first row
/// is the heading. Cells that are numbers in every row below the heading are set right.
std::string render_table(const std::vector<std::vector<std::string>>& rows);

std::string format_bytes(std::int64_t bytes);        ///< `812 B`, `1.5 MB`
std::string format_count(std::int64_t count);        ///< `1,234,567`
std::string format_seconds(double seconds);          ///< `0:07`, `12:34`, `1:02:03`
std::string format_time(std::int64_t unix_seconds);  ///< `2026-11-23 21:45:29`, UTC

/// `[=====>     ]`, `width` characters between the brackets; `fraction` is brought into 0..1.
std::string render_bar(double fraction, int width);

/// The member as text for a table: strings as they are, numbers in digits, absent or null as `-`.
std::string cell(const base::json::value& object, const char* name);

/// The member, nano-dollars in digits as the API sends money, as `$0.0123`; `-` where it is none.
std::string dollars_cell(const base::json::value& object, const char* name);

/// The same of micro-points, as `1.5 points`.
std::string points_cell(const base::json::value& object, const char* name);

/// The nano-dollars of such a member; 0 where it is none.
std::int64_t nano_of(const base::json::value& object, const char* name);

/// The member as a number; `otherwise` where it is absent or not a number.
double number_of(const base::json::value& object, const char* name, double otherwise = 0);

/// The member as an integer; `otherwise` where it is absent or not a whole number.
std::int64_t integer_of(const base::json::value& object, const char* name, std::int64_t otherwise = 0);

/// The member's text; empty where it is absent or not a string.
std::string text_of(const base::json::value& object, const char* name);

/// Without control characters: what the API passes on was written by users and must not drive the terminal.
std::string printable(std::string text);

}  // namespace finetuned::cli
