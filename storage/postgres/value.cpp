#include <charconv>

#include "base/expects.h"
#include "storage/postgres/transaction.h"

namespace finetuned::postgres {

Value::Value(double number) {
  char digits[64];
  const auto written = std::to_chars(digits, digits + sizeof digits, number);
  text_ = std::string(digits, written.ptr);
}

Value Value::bytes(std::string_view raw) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string text = "\\x";
  text.reserve(2 + 2 * raw.size());
  for (const unsigned char byte : raw) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return Value(std::move(text));
}

Value Value::texts(const std::vector<std::string>& elements) {
  std::string text = "{";
  for (const std::string& element : elements) {
    if (text.size() > 1) text += ',';
    text += '"';
    for (const char c : element) {
      if (c == '"' || c == '\\') text += '\\';
      text += c;
    }
    text += '"';
  }
  text += '}';
  return Value(std::move(text));
}

Row Result::row(std::size_t index) const {
  base::expects(index < rows_.size(), "a row within the result");
  return Row(*this, index);
}

const std::optional<std::string>& Row::cell(std::string_view column) const {
  const std::size_t columns = result_.columns_.size();
  for (std::size_t looked = 0, at = next_; looked < columns; ++looked, ++at) {
    if (at >= columns) at = 0;
    if (result_.columns_[at] != column) continue;
    next_ = at + 1;
    return result_.rows_[index_][at];
  }
  base::expects(false, "a column that the statement selects: " + std::string(column));
  std::abort();
}

bool Row::is_null(std::string_view column) const { return !cell(column).has_value(); }

std::string Row::text(std::string_view column) const {
  const auto& value = cell(column);
  base::expects(value.has_value(), "a column that is never NULL: " + std::string(column));
  return *value;
}

std::int64_t Row::integer(std::string_view column) const {
  const std::string digits = text(column);
  std::int64_t number = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  base::expects(read.ec == std::errc() && read.ptr == digits.data() + digits.size(),
                "an integer column: " + std::string(column));
  return number;
}

double Row::real(std::string_view column) const {
  const std::string digits = text(column);
  double number = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  base::expects(read.ec == std::errc(), "a number column: " + std::string(column));
  return number;
}

bool Row::boolean(std::string_view column) const { return text(column) == "t"; }

std::string Row::bytes(std::string_view column) const {
  const std::string hex = text(column);
  base::expects(hex.size() % 2 == 0 && hex.starts_with("\\x"), "a bytea column: " + std::string(column));
  const auto digit = [](char c) { return c <= '9' ? c - '0' : c - 'a' + 10; };
  std::string raw(hex.size() / 2 - 1, '\0');
  for (std::size_t i = 0; i < raw.size(); ++i)
    raw[i] = static_cast<char>(digit(hex[2 * i + 2]) << 4 | digit(hex[2 * i + 3]));
  return raw;
}

std::optional<std::string> Row::maybe_text(std::string_view column) const { return cell(column); }

std::optional<std::int64_t> Row::maybe_integer(std::string_view column) const {
  if (is_null(column)) return std::nullopt;
  return integer(column);
}

}  // namespace finetuned::postgres
