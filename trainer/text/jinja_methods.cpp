#include <cmath>
#include <ctime>

#include "trainer/text/jinja_interpreter.h"
#include "trainer/text/python_text.h"

namespace finetuned::text::jinja {

namespace {

using Kind = Value::Kind;
constexpr std::int64_t kLongestRange = 100'000;  // as Jinja2's sandbox

std::optional<std::string_view> optional_text(const Arguments& arguments, std::size_t place,
                                              std::string_view name) {
  const Value* given = arguments.find(place, name);
  if (given == nullptr || given->is(Kind::kNone)) return std::nullopt;
  return arguments.text(place, name);
}

}  // namespace

Value Interpreter::method(const std::string& name, const Value& object, const Arguments& arguments) {
  switch (object.kind) {
    case Kind::kUndefined:
      fail("'" + object.str() + "' is undefined");
    case Kind::kString:
      return text_method(name, object, arguments);
    case Kind::kDict:
      return dict_method(name, object, arguments);
    case Kind::kLoop:
      return loop_method(name, *object.loop, arguments);
    case Kind::kNamespace: {
      const Value* held = object.dict->find(name);
      if (held != nullptr && held->is(Kind::kCallable) && held->callable->macro != nullptr)
        return call_macro(*held->callable, arguments);
      break;
    }
    case Kind::kList:
      if (name == "append" && !object.list->tuple) {
        arguments.at_most(1, name);
        if (arguments.positional.empty()) fail("'append' needs a value");
        arena_.charge(8);
        object.list->items.push_back(arguments.positional[0]);
        return none();
      }
      break;
    default:
      break;
  }
  fail("'" + std::string(type_name(object)) + "' has no method '" + name + "'");
}

Value Interpreter::text_method(const std::string& name, const Value& object, const Arguments& arguments) {
  const std::string& text = object.str();
  arena_.charge(1 + text.size() / 16);
  if (name == "upper") return arena_.text(upper(text));
  if (name == "lower") return arena_.text(lower(text));
  if (name == "title") return arena_.text(title(text));
  if (name == "strip" || name == "lstrip" || name == "rstrip") {
    arguments.at_most(1, name);
    const auto set = optional_text(arguments, 0, "chars");
    if (set) arena_.charge(text.size() / 16 * (1 + set->size() / 8));
    std::string_view rest = text;
    if (name != "rstrip") rest = strip_left(rest, set);
    if (name != "lstrip") rest = strip_right(rest, set);
    return arena_.text(std::string(rest));
  }
  if (name == "startswith" || name == "endswith") {
    arguments.at_most(1, name);
    if (arguments.positional.empty()) fail("'" + name + "' needs a text");
    const Value& given = arguments.positional[0];
    const std::vector<Value> all = given.is(Kind::kList) ? given.list->items : std::vector<Value>{given};
    bool found = false;
    for (const Value& one : all) {
      if (!one.is(Kind::kString))
        fail("'" + name + "' needs a text, not '" + std::string(type_name(one)) + "'");
      found = found || (name == "startswith" ? text.starts_with(one.str()) : text.ends_with(one.str()));
    }
    return boolean(found);
  }
  if (name == "replace") {
    const std::string& old_text = arguments.text(0, "old");
    const std::string& new_text = arguments.text(1, "new");
    return arena_.text(
        replace(text, old_text, new_text, arguments.integer(2, "count", -1), arena_.limits().output_bytes));
  }
  if (name == "split") {
    const auto separator = optional_text(arguments, 0, "sep");
    if (separator && separator->empty()) fail("'split' needs a separator that is not empty");
    std::vector<Value> parts;
    for (std::string& part : split(text, separator, arguments.integer(1, "maxsplit", -1)))
      parts.push_back(arena_.text(std::move(part)));
    return arena_.list(std::move(parts));
  }
  fail("'str' has no method '" + name + "'");
}

Value Interpreter::pairs(const Value& dict) {
  std::vector<Value> all;
  for (const auto& [key, value] : dict.dict->entries)
    all.push_back(arena_.list({arena_.text(key), value}, true));
  return arena_.list(std::move(all));
}

Value Interpreter::dict_method(const std::string& name, const Value& object, const Arguments& arguments) {
  if (name == "items") return pairs(object);
  if (name == "keys") return arena_.list(iterate(object, arena_));
  if (name == "values") {
    std::vector<Value> all;
    for (const auto& [key, value] : object.dict->entries)
      all.push_back(value);
    return arena_.list(std::move(all));
  }
  if (name == "get") {
    arguments.at_most(2, name);
    if (arguments.positional.empty()) fail("'get' needs a key");
    const Value& key = arguments.positional[0];
    if (key.is(Kind::kString))
      if (const Value* value = object.dict->find(key.str())) return *value;
    return arguments.positional.size() > 1 ? arguments.positional[1] : none();
  }
  fail("'dict' has no method '" + name + "'");
}

Value Interpreter::loop_method(const std::string& name, LoopState& loop, const Arguments& arguments) {
  if (loop.items == nullptr) fail("'loop' is used after its loop");
  if (name == "cycle") {
    if (arguments.positional.empty()) fail("'loop.cycle' needs values");
    return arguments.positional[loop.index % arguments.positional.size()];
  }
  if (name == "changed") {
    bool same = loop.changed && loop.changed->size() == arguments.positional.size();
    for (std::size_t i = 0; same && i < arguments.positional.size(); ++i)
      same = equal((*loop.changed)[i], arguments.positional[i]);
    loop.changed = arguments.positional;
    return boolean(!same);
  }
  fail("'loop' has no method '" + name + "'");
}

Value Interpreter::function(const std::string& name, const Arguments& arguments) {
  if (name == "raise_exception") {
    const Value* message = arguments.find(0, "message");
    throw TemplateError(TemplateError::Kind::kRaised,
                        message != nullptr ? to_text(*message) : "no reason given");
  }
  if (name == "range") return range(arguments);
  if (name == "strftime_now") return strftime_now(arguments);
  Value made = name == "namespace" ? arena_.name_space() : arena_.dict();
  arguments.at_most(1 + arguments.named.size(), name);
  if (!arguments.positional.empty()) {
    const Value& from = arguments.positional[0];
    if (from.is(Kind::kDict)) {
      arena_.charge(8 * from.dict->entries.size());
      for (const auto& [key, value] : from.dict->entries)
        made.dict->set(key, value);
    } else {
      for (const Value& pair : iterate(from, arena_)) {
        const std::vector<Value> two = iterate(pair, arena_);
        if (two.size() != 2 || !two[0].is(Kind::kString))
          fail("'" + name + "' needs pairs of a text and a value");
        made.dict->set(two[0].str(), two[1]);
      }
    }
  }
  for (const auto& [key, value] : arguments.named)
    made.dict->set(key, value);
  return made;
}

Value Interpreter::range(const Arguments& arguments) {
  const std::size_t count = arguments.positional.size();
  if (count == 0 || count > 3 || !arguments.named.empty()) fail("'range' takes 1 to 3 integers");
  const std::int64_t first = arguments.integer(0, "range", 0);
  const std::int64_t start = count > 1 ? first : 0;
  const std::int64_t stop = count > 1 ? arguments.integer(1, "range", 0) : first;
  const std::int64_t step = count > 2 ? arguments.integer(2, "range", 1) : 1;
  if (step == 0) fail("'range' needs a step other than 0");
  const double size = (static_cast<double>(stop) - static_cast<double>(start)) / static_cast<double>(step);
  if (size > static_cast<double>(kLongestRange)) fail("a range is longer than 100000");
  std::vector<Value> numbers;
  const auto length = size <= 0 ? 0 : static_cast<std::int64_t>(std::ceil(size));
  for (std::int64_t i = 0; i < length; ++i)
    numbers.push_back(integer(start + i * step));
  return arena_.list(std::move(numbers));
}

Value Interpreter::strftime_now(const Arguments& arguments) {
  const std::string& format = arguments.text(0, "format");
  if (format.empty()) return string("");
  if (format.size() > 256) fail("the format of 'strftime_now' is too long");
  for (std::size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') continue;
    ++i;
    if (i < format.size() && format[i] == '-') ++i;
    if (i >= format.size() ||
        std::string_view("aAbBdHIjmMpSyYe%FT").find(format[i]) == std::string_view::npos)
      fail("'strftime_now' does not know a directive of '" + format + "'");
  }
  const std::time_t now = input_.now.time_since_epoch().count();
  std::tm parts{};
  gmtime_r(&now, &parts);
  char text[4096];
  return arena_.text(std::string(text, std::strftime(text, sizeof text, format.c_str(), &parts)));
}

}  // namespace finetuned::text::jinja
