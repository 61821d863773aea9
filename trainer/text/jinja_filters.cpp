#include <algorithm>
#include <charconv>
#include <cmath>

#include "trainer/text/jinja_interpreter.h"
#include "trainer/text/jinja_names.h"
#include "trainer/text/python_text.h"
#include "trainer/text/utf8.h"

namespace finetuned::text::jinja {

namespace {

using Kind = Value::Kind;

// str.splitlines() of a text with a line end put behind it, as Jinja's indent does.
std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines(1);
  const auto ends = [](char32_t c) {
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
  };
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Character c = read_utf8(text, at);
    const std::size_t size = std::max<std::size_t>(1, c.size);
    if (ends(c.code_point)) {
      lines.emplace_back();
      if (c.code_point == '\r' && at + 1 < text.size() && text[at + 1] == '\n') ++at;
    } else {
      lines.back() += text.substr(at, size);
    }
    at += size;
  }
  return lines;
}

std::string indented(const std::string& text, const std::string& by, bool first, bool blank) {
  const std::vector<std::string> lines = lines_of(text);
  std::string out = first ? by : "";
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i > 0 && (blank || !lines[i].empty())) out += by;
    out += lines[i];
  }
  return out;
}

std::optional<std::int64_t> parse_int(std::string text, int base) {
  text = std::string(strip_left(strip_right(text, std::nullopt), std::nullopt));
  std::string digits;
  for (const char c : text)
    if (c != '_') digits += c;
  const bool plus = digits.starts_with('+');
  std::int64_t number = 0;
  const char* begin = digits.data() + (plus ? 1 : 0);
  const char* end = digits.data() + digits.size();
  const auto read = std::from_chars(begin, end, number, base);
  return read.ec == std::errc() && read.ptr == end ? std::optional(number) : std::nullopt;
}

std::optional<double> parse_float(const std::string& text) {
  const std::string_view plain = strip_left(strip_right(text, std::nullopt), std::nullopt);
  double number = 0;
  const auto read = std::from_chars(plain.data(), plain.data() + plain.size(), number);
  return read.ec == std::errc() && read.ptr == plain.data() + plain.size() ? std::optional(number)
                                                                           : std::nullopt;
}

}  // namespace

Value Interpreter::filter(const std::string& name, const Value& input, const Arguments& arguments) {
  if (name == "safe" || name == "string")
    return input.is(Kind::kString) ? input : arena_.text(to_text(input));
  if (name == "length" || name == "count") return integer(length(input));
  if (name == "default" || name == "d") {
    const bool missing =
        input.is(Kind::kUndefined) || (arguments.truth(1, "boolean", false) && !truthy(input));
    if (!missing) return input;
    const Value* given = arguments.find(0, "default_value");
    return given != nullptr ? *given : string("");
  }
  if (name == "tojson") return to_json_filter(input, arguments);
  if (name == "int") return int_filter(input, arguments);
  if (name == "dictsort") return dict_sort(input, arguments);
  if (name == "map") return map(input, arguments);
  if (name == "select" || name == "reject" || name == "selectattr" || name == "rejectattr")
    return select(name, input, arguments);
  if (name == "items") {
    if (input.is(Kind::kUndefined)) return arena_.list({});
    if (!input.is(Kind::kDict))
      fail("'items' needs a dictionary, not '" + std::string(type_name(input)) + "'");
    return pairs(input);
  }
  if (name == "first" || name == "last" || name == "list" || name == "join")
    return sequence_filter(name, input, arguments);
  return text_filter(name, input, arguments);
}

Value Interpreter::text_filter(const std::string& name, const Value& input, const Arguments& arguments) {
  const std::string text = to_text(input);
  arena_.charge(1 + text.size() / 16);
  if (name == "upper") return arena_.text(upper(text));
  if (name == "lower") return arena_.text(lower(text));
  if (name == "title") return arena_.text(title_words(text));
  if (name == "trim") {
    const Value* given = arguments.find(0, "chars");
    const bool some = given != nullptr && !given->is(Kind::kNone);
    const std::optional<std::string_view> set =
        some ? std::optional<std::string_view>(arguments.text(0, "chars")) : std::nullopt;
    if (set) arena_.charge(text.size() / 16 * (1 + set->size() / 8));
    return arena_.text(std::string(strip_left(strip_right(text, set), set)));
  }
  if (name == "replace") {
    const std::string old_text =
        to_text(arguments.find(0, "old") ? *arguments.find(0, "old") : undefined("old"));
    const std::string new_text =
        to_text(arguments.find(1, "new") ? *arguments.find(1, "new") : undefined("new"));
    return arena_.text(
        replace(text, old_text, new_text, arguments.integer(2, "count", -1), arena_.limits().output_bytes));
  }
  if (name == "indent") {
    const Value* width = arguments.find(0, "width");
    std::string by;
    if (width != nullptr && width->is(Kind::kString))
      by = width->str();
    else
      by.assign(static_cast<std::size_t>(std::clamp<std::int64_t>(arguments.integer(0, "width", 4), 0, 1000)),
                ' ');
    arena_.charge(static_cast<std::uint64_t>(std::count(text.begin(), text.end(), '\n')) *
                  (1 + by.size() / 16));
    return arena_.text(
        indented(text, by, arguments.truth(1, "first", false), arguments.truth(2, "blank", false)));
  }
  fail("the filter '" + name + "' is not supported");
}

Value Interpreter::sequence_filter(const std::string& name, const Value& input, const Arguments& arguments) {
  std::vector<Value> items = iterate(input, arena_);
  if (name == "first") return items.empty() ? undefined("the first item of nothing") : items.front();
  if (name == "last") return items.empty() ? undefined("the last item of nothing") : items.back();
  if (name == "list") return arena_.list(std::move(items));
  const Value* between = arguments.find(0, "d");
  const std::string separator = between != nullptr ? to_text(*between) : "";
  const Value* attribute_path = arguments.find(1, "attribute");
  std::string text;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i > 0) text += separator;
    text += to_text(attribute_path != nullptr ? path(items[i], *attribute_path) : items[i]);
    if (text.size() > arena_.limits().output_bytes) break;  // arena_.text refuses it
  }
  return arena_.text(std::move(text));
}

Value Interpreter::to_json_filter(const Value& input, const Arguments& arguments) {
  JsonStyle style;
  style.ensure_ascii = arguments.truth(0, "ensure_ascii", false);
  const Value* indent = arguments.find(1, "indent");
  if (indent != nullptr && !indent->is(Kind::kNone)) style.indent = arguments.integer(1, "indent", 0);
  const Value* separators = arguments.find(2, "separators");
  if (separators != nullptr && !separators->is(Kind::kNone)) {
    const std::vector<Value> two = iterate(*separators, arena_);
    if (two.size() != 2) fail("'separators' must be two texts");
    style.item_separator = to_text(two[0]);
    style.key_separator = to_text(two[1]);
  }
  style.sort_keys = arguments.truth(3, "sort_keys", false);
  return arena_.text(to_json(input, style));
}

Value Interpreter::int_filter(const Value& input, const Arguments& arguments) {
  const Value* given = arguments.find(0, "default");
  const Value otherwise = given != nullptr ? *given : integer(0);
  if (input.is_integral()) return integer(input.as_int());
  double number = 0;
  if (input.is(Kind::kFloat)) {
    number = input.number;
  } else if (input.is(Kind::kString)) {
    const std::int64_t base = arguments.integer(1, "base", 10);
    if (base < 2 || base > 36) return otherwise;
    if (const auto whole = parse_int(input.str(), static_cast<int>(base))) return integer(*whole);
    const auto fraction = parse_float(input.str());
    if (!fraction) return otherwise;
    number = *fraction;
  } else {
    return otherwise;
  }
  if (!(std::abs(number) < 9.2e18)) return otherwise;
  return integer(static_cast<std::int64_t>(number));
}

Value Interpreter::dict_sort(const Value& input, const Arguments& arguments) {
  if (!input.is(Kind::kDict))
    fail("'dictsort' needs a dictionary, not '" + std::string(type_name(input)) + "'");
  const Value* by = arguments.find(1, "by");
  const bool by_value = by != nullptr && to_text(*by) == "value";
  const bool exact = arguments.truth(0, "case_sensitive", false);
  std::vector<std::pair<Value, Value>> keyed;  // what is compared, and the pair
  for (const Value& pair : pairs(input).list->items) {
    Value key = pair.list->items[by_value ? 1 : 0];
    if (!exact && key.is(Kind::kString)) key = arena_.text(lower(key.str()));
    keyed.emplace_back(std::move(key), pair);
  }
  arena_.charge(keyed.size() * 16);
  const bool reverse = arguments.truth(2, "reverse", false);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? compare(b.first, a.first) < 0 : compare(a.first, b.first) < 0;
  });
  std::vector<Value> sorted;
  for (auto& [key, pair] : keyed)
    sorted.push_back(std::move(pair));
  return arena_.list(std::move(sorted));
}

// An attribute path as `map` and `selectattr` take it: `a.b.0`, or a number.
Value Interpreter::path(const Value& object, const Value& path) {
  if (path.is(Kind::kInt)) return item(object, path);
  Value at = object;
  for (const std::string& part : split(to_text(path), ".", -1)) {
    const auto index = !part.empty() && part.size() < 10 &&
                               std::ranges::all_of(part, [](char c) { return c >= '0' && c <= '9'; })
                           ? parse_int(part, 10)
                           : std::nullopt;
    at = item(at, index ? integer(*index) : arena_.text(part));
  }
  return at;
}

Value Interpreter::map(const Value& input, const Arguments& arguments) {
  std::vector<Value> made;
  const Value* attribute_path = nullptr;
  const Value* otherwise = nullptr;
  for (const auto& [key, value] : arguments.named) {
    if (key == "attribute") attribute_path = &value;
    if (key == "default") otherwise = &value;
  }
  const std::vector<Value> items = iterate(input, arena_);
  if (arguments.positional.empty()) {
    if (attribute_path == nullptr) fail("'map' needs a filter's name or an attribute");
    for (const Value& one : items) {
      Value value = path(one, *attribute_path);
      made.push_back(value.is(Kind::kUndefined) && otherwise != nullptr ? *otherwise : value);
    }
    return arena_.list(std::move(made));
  }
  const std::string& name = arguments.text(0, "filter");
  if (!is_known_filter(name)) fail("the filter '" + name + "' is not supported");
  Arguments rest;
  rest.positional.assign(arguments.positional.begin() + 1, arguments.positional.end());
  rest.named = arguments.named;
  const Deeper deeper(*this);
  for (const Value& one : items)
    made.push_back(filter(name, one, rest));
  return arena_.list(std::move(made));
}

Value Interpreter::select(const std::string& name, const Value& input, const Arguments& arguments) {
  const bool by_attribute = name.ends_with("attr");
  const bool wanted = name.starts_with("select");
  const std::size_t test_at = by_attribute ? 1 : 0;
  if (by_attribute && arguments.positional.empty()) fail("'" + name + "' needs an attribute's name");
  const bool tested = arguments.positional.size() > test_at;
  if (tested && !is_known_test(arguments.text(test_at, "test")))
    fail("the test '" + arguments.text(test_at, "test") + "' is not supported");
  Arguments rest;
  if (tested)
    rest.positional.assign(arguments.positional.begin() + static_cast<std::ptrdiff_t>(test_at) + 1,
                           arguments.positional.end());
  std::vector<Value> kept;
  for (const Value& one : iterate(input, arena_)) {
    const Value value = by_attribute ? path(one, arguments.positional[0]) : one;
    const bool holds = tested ? test(arguments.positional[test_at].str(), value, rest) : truthy(value);
    if (holds == wanted) kept.push_back(one);
  }
  return arena_.list(std::move(kept));
}

bool Interpreter::test(const std::string& name, const Value& input, const Arguments& arguments) {
  arguments.at_most(test_takes_argument(name) ? 1 : 0, name);
  if (name == "defined") return !input.is(Kind::kUndefined);
  if (name == "undefined") return input.is(Kind::kUndefined);
  if (name == "none") return input.is(Kind::kNone);
  if (name == "string") return input.is(Kind::kString);
  if (name == "number") return input.is_number();
  if (name == "integer") return input.is(Kind::kInt);
  if (name == "float") return input.is(Kind::kFloat);
  if (name == "boolean") return input.is(Kind::kBool);
  if (name == "true") return input.is(Kind::kBool) && input.truth;
  if (name == "false") return input.is(Kind::kBool) && !input.truth;
  if (name == "mapping") return input.is(Kind::kDict);
  if (name == "iterable" || name == "sequence")  // an undefined value has Python's methods for both
    return input.is(Kind::kUndefined) || input.is(Kind::kString) || input.is(Kind::kList) ||
           input.is(Kind::kDict);
  const Value* other = arguments.find(0, "other");
  if (other == nullptr) fail("the test '" + name + "' needs an argument");
  if (name == "in") return contains(*other, input);
  return equal(input, *other) != (name == "ne" || name == "!=");
}

}  // namespace finetuned::text::jinja
