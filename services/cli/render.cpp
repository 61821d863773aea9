#include "services/cli/render.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <optional>

#include "base/money.h"

namespace finetuned::cli {

namespace json = base::json;

namespace {

std::size_t width_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](unsigned char c) { return (c & 0xc0) != 0x80; }));
}

bool looks_numeric(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789.,-$") == std::string::npos;
}

const json::value* member(const json::value& object, const char* name) {
  const json::object* fields = object.if_object();
  return fields ? fields->if_contains(name) : nullptr;
}

std::optional<std::int64_t> digits_of(const json::value& object, const char* name) {
  const std::string text = text_of(object, name);
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

}  // namespace

std::string render_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  std::vector<bool> right;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    widths.resize(std::max(widths.size(), rows[r].size()));
    right.resize(widths.size(), rows.size() > 1);
    for (std::size_t c = 0; c < rows[r].size(); ++c) {
      widths[c] = std::max(widths[c], width_of(rows[r][c]));
      if (r > 0 && !looks_numeric(rows[r][c])) right[c] = false;
    }
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t c = 0; c < row.size(); ++c) {
      const std::string space(widths[c] - width_of(row[c]), ' ');
      line += right[c] ? space + row[c] : row[c] + space;
      if (c + 1 < row.size()) line += "  ";
    }
    while (!line.empty() && line.back() == ' ')
      line.pop_back();
    text += line + "\n";
  }
  return text;
}

std::string format_bytes(std::int64_t bytes) {
  if (bytes < 1000) return std::to_string(bytes) + " B";
  double amount = static_cast<double>(bytes);
  const char* unit = "B";
  for (const char* next : {"kB", "MB", "GB", "TB"}) {
    if (amount < 999.95) break;
    amount /= 1000;
    unit = next;
  }
  char text[40];
  std::snprintf(text, sizeof text, "%.1f %s", amount, unit);
  return text;
}

std::string format_count(std::int64_t count) {
  const std::string digits = std::to_string(count);
  const std::size_t first = count < 0 ? 1 : 0;
  std::string text;
  for (std::size_t at = 0; at < digits.size(); ++at) {
    if (at > first && (digits.size() - at) % 3 == 0) text += ',';
    text += digits[at];
  }
  return text;
}

std::string format_seconds(double seconds) {
  const auto whole = static_cast<std::int64_t>(std::llround(std::max(0.0, seconds)));
  const long long hours = whole / 3600, minutes = whole / 60 % 60, rest = whole % 60;
  char text[40];
  if (hours > 0) {
    std::snprintf(text, sizeof text, "%lld:%02lld:%02lld", hours, minutes, rest);
  } else {
    std::snprintf(text, sizeof text, "%lld:%02lld", minutes, rest);
  }
  return text;
}

std::string format_time(std::int64_t unix_seconds) {
  const std::time_t when = unix_seconds;
  std::tm parts{};
  gmtime_r(&when, &parts);
  char text[40];
  std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
  return text;
}

std::string render_bar(double fraction, int width) {
  const int filled = static_cast<int>(std::lround(std::clamp(fraction, 0.0, 1.0) * width));
  std::string bar(static_cast<std::size_t>(filled), '=');
  if (filled < width) bar += '>';
  bar.resize(static_cast<std::size_t>(width), ' ');
  return "[" + bar + "]";
}

std::string cell(const json::value& object, const char* name) {
  const json::value* found = member(object, name);
  if (!found || found->is_null()) return "-";
  if (found->is_string()) return printable(std::string(found->get_string()));
  if (found->is_int64()) return std::to_string(found->get_int64());
  if (found->is_bool()) return found->get_bool() ? "yes" : "no";
  if (found->is_double()) {
    char text[40];
    std::snprintf(text, sizeof text, "%.6g", found->get_double());
    return text;
  }
  return "-";
}

std::string dollars_cell(const json::value& object, const char* name) {
  const std::optional<std::int64_t> nano = digits_of(object, name);
  return nano ? base::format_dollars({*nano}) : cell(object, name);
}

std::string points_cell(const json::value& object, const char* name) {
  const std::optional<std::int64_t> micro = digits_of(object, name);
  return micro ? base::format_points(*micro) : cell(object, name);
}

std::int64_t nano_of(const json::value& object, const char* name) {
  return digits_of(object, name).value_or(0);
}

double number_of(const json::value& object, const char* name, double otherwise) {
  const json::value* found = member(object, name);
  if (!found || !found->is_number()) return otherwise;
  return found->to_number<double>();
}

std::int64_t integer_of(const json::value& object, const char* name, std::int64_t otherwise) {
  const json::value* found = member(object, name);
  return found && found->is_int64() ? found->get_int64() : otherwise;
}

std::string text_of(const json::value& object, const char* name) {
  const json::value* found = member(object, name);
  return found && found->is_string() ? std::string(found->get_string()) : std::string();
}

std::string printable(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text;
}

}  // namespace finetuned::cli
