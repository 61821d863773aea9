#include <algorithm>
#include <charconv>
#include <cmath>
#include <utf8proc.h>

#include "trainer/text/jinja_value.h"
#include "trainer/text/utf8.h"

namespace finetuned::text::jinja {

namespace {

using Kind = Value::Kind;
constexpr int kDeepest = 100;

constexpr std::size_t kLongest = 64u << 20;  // shared inner lists can make a small value print as 2^100 bytes

void check_size(int depth, std::size_t size) {
  if (depth > kDeepest)
    throw TemplateError(TemplateError::Kind::kLimit, "a value is nested more than 100 deep");
  if (size > kLongest) throw TemplateError(TemplateError::Kind::kLimit, "a value prints as more than 64 MiB");
}

void append_hex(std::string& out, char32_t c, int digits) {
  constexpr char kDigits[] = "0123456789abcdef";
  for (int i = digits - 1; i >= 0; --i)
    out += kDigits[c >> (4 * i) & 0xF];
}

bool printable(char32_t c) {
  if (c == ' ') return true;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
      return false;
    default:
      return true;
  }
}

void string_repr(std::string& out, const std::string& text) {
  const bool double_quotes = text.find('\'') != std::string::npos && text.find('"') == std::string::npos;
  const char quote = double_quotes ? '"' : '\'';
  out += quote;
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Character c = read_utf8(text, at);
    at += std::max<std::size_t>(1, c.size);
    const char32_t point = c.code_point;
    if (point == '\\' || point == static_cast<char32_t>(quote)) {
      out += '\\';
      out += static_cast<char>(point);
    } else if (point == '\n') {
      out += "\\n";
    } else if (point == '\r') {
      out += "\\r";
    } else if (point == '\t') {
      out += "\\t";
    } else if (printable(point)) {
      append_utf8(out, point);
    } else if (point < 0x100) {
      out += "\\x";
      append_hex(out, point, 2);
    } else if (point < 0x10000) {
      out += "\\u";
      append_hex(out, point, 4);
    } else {
      out += "\\U";
      append_hex(out, point, 8);
    }
  }
  out += quote;
}

void repr(std::string& out, const Value& value, int depth) {
  check_size(depth, out.size());
  switch (value.kind) {
    case Kind::kUndefined:
      out += "Undefined";
      break;
    case Kind::kNone:
      out += "None";
      break;
    case Kind::kBool:
      out += value.truth ? "True" : "False";
      break;
    case Kind::kInt:
      out += std::to_string(value.integer);
      break;
    case Kind::kFloat:
      out += float_repr(value.number);
      break;
    case Kind::kString:
      string_repr(out, *value.text);
      break;
    case Kind::kList: {
      const auto& items = value.list->items;
      out += value.list->tuple ? '(' : '[';
      for (std::size_t i = 0; i < items.size(); ++i) {
        if (i > 0) out += ", ";
        repr(out, items[i], depth + 1);
      }
      if (value.list->tuple && items.size() == 1) out += ',';
      out += value.list->tuple ? ')' : ']';
      break;
    }
    case Kind::kDict: {
      out += '{';
      bool first = true;
      for (const auto& [key, member] : value.dict->entries) {
        if (!first) out += ", ";
        first = false;
        string_repr(out, key);
        out += ": ";
        repr(out, member, depth + 1);
      }
      out += '}';
      break;
    }
    default:
      fail("a " + std::string(type_name(value)) + " cannot be printed");
  }
}

class JsonWriter {
 public:
  explicit JsonWriter(const JsonStyle& style) : style_(style) {
    item_separator_ = !style.item_separator.empty() ? style.item_separator : style.indent ? "," : ", ";
    key_separator_ = !style.key_separator.empty() ? style.key_separator : ": ";
  }

  void write(const Value& value, int depth) {
    check_size(depth, out.size());
    switch (value.kind) {
      case Kind::kNone:
        out += "null";
        break;
      case Kind::kBool:
        out += value.truth ? "true" : "false";
        break;
      case Kind::kInt:
        out += std::to_string(value.integer);
        break;
      case Kind::kFloat:
        out += std::isnan(value.number)   ? "NaN"
               : std::isinf(value.number) ? (value.number > 0 ? "Infinity" : "-Infinity")
                                          : float_repr(value.number);
        break;
      case Kind::kString:
        text(*value.text);
        break;
      case Kind::kList:
        array(value, depth);
        break;
      case Kind::kDict:
        object(value, depth);
        break;
      default:
        fail("a value of type " + std::string(type_name(value)) + " is not JSON serializable");
    }
  }

  std::string out;

 private:
  void line(int depth) {
    if (!style_.indent) return;
    out += '\n';
    out.append(static_cast<std::size_t>(std::clamp<std::int64_t>(*style_.indent, 0, 64) * depth), ' ');
  }

  void array(const Value& value, int depth) {
    const auto& items = value.list->items;
    if (items.empty()) {
      out += "[]";
      return;
    }
    out += '[';
    for (std::size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += item_separator_;
      line(depth + 1);
      write(items[i], depth + 1);
    }
    line(depth);
    out += ']';
  }

  void object(const Value& value, int depth) {
    std::vector<const std::pair<std::string, Value>*> entries;
    for (const auto& entry : value.dict->entries)
      entries.push_back(&entry);
    if (entries.empty()) {
      out += "{}";
      return;
    }
    if (style_.sort_keys)
      std::sort(entries.begin(), entries.end(),
                [](const auto* a, const auto* b) { return a->first < b->first; });
    out += '{';
    for (std::size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out += item_separator_;
      line(depth + 1);
      text(entries[i]->first);
      out += key_separator_;
      write(entries[i]->second, depth + 1);
    }
    line(depth);
    out += '}';
  }

  void escape_point(char32_t c) {
    out += "\\u";
    append_hex(out, c, 4);
  }

  void text(const std::string& words) {
    out += '"';
    for (std::size_t at = 0; at < words.size();) {
      const Utf8Character c = read_utf8(words, at);
      at += std::max<std::size_t>(1, c.size);
      const char32_t point = c.code_point;
      if (point == '"' || point == '\\') {
        out += '\\';
        out += static_cast<char>(point);
      } else if (point == '\n')
        out += "\\n";
      else if (point == '\r')
        out += "\\r";
      else if (point == '\t')
        out += "\\t";
      else if (point == '\b')
        out += "\\b";
      else if (point == '\f')
        out += "\\f";
      else if (point < 0x20 || (style_.ensure_ascii && point >= 0x7F && point < 0x10000)) {
        if (point == 0x7F)
          out += '\x7F';
        else
          escape_point(point);
      } else if (style_.ensure_ascii && point >= 0x10000) {
        escape_point(0xD800 + ((point - 0x10000) >> 10));
        escape_point(0xDC00 + ((point - 0x10000) & 0x3FF));
      } else
        append_utf8(out, point);
    }
    out += '"';
  }

  const JsonStyle& style_;
  std::string item_separator_;
  std::string key_separator_;
};

}  // namespace

std::string float_repr(double number) {
  if (std::isnan(number)) return "nan";
  if (std::isinf(number)) return number > 0 ? "inf" : "-inf";
  char buffer[64];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, number, std::chars_format::scientific).ptr;
  const std::string_view made(buffer, static_cast<std::size_t>(end - buffer));
  const std::size_t e = made.find('e');
  const int exponent = std::stoi(std::string(made.substr(e + 1)));
  std::string digits;
  for (const char c : made.substr(0, e))
    if (c >= '0' && c <= '9') digits += c;
  std::string out = number < 0 || (number == 0 && std::signbit(number)) ? "-" : "";
  if (exponent < -4 || exponent >= 16) {  // Python's limits for the exponent form
    out += digits.substr(0, 1);
    if (digits.size() > 1) out += "." + digits.substr(1);
    out += exponent < 0 ? "e-" : "e+";
    const int size = std::abs(exponent);
    return out + (size < 10 ? "0" : "") + std::to_string(size);
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() < whole) digits.append(whole - digits.size(), '0');
  return out + digits.substr(0, whole) + "." + (digits.size() > whole ? digits.substr(whole) : "0");
}

std::string to_text(const Value& value) {
  if (value.is(Kind::kString)) return *value.text;
  if (value.is(Kind::kUndefined)) return {};
  return to_repr(value);
}

std::string to_repr(const Value& value) {
  std::string out;
  repr(out, value, 0);
  return out;
}

std::string to_json(const Value& value, const JsonStyle& style) {
  JsonWriter writer(style);
  writer.write(value, 0);
  return std::move(writer.out);
}

}  // namespace finetuned::text::jinja
