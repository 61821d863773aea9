#include "trainer/text/jinja_value.h"

#include <algorithm>
#include <cmath>

#include "trainer/text/python_text.h"
#include "trainer/text/utf8.h"

namespace finetuned::text::jinja {

namespace {

constexpr std::size_t kIndexFrom = 16;
constexpr int kDeepest = 100;
using Kind = Value::Kind;

void check_depth(int depth) {
  if (depth > kDeepest)
    throw TemplateError(TemplateError::Kind::kLimit, "a value is nested more than 100 deep");
}

}  // namespace

const Value* Dict::find(std::string_view key) const {
  if (entries.size() <= kIndexFrom) {
    for (const auto& [name, value] : entries)
      if (name == key) return &value;
    return nullptr;
  }
  const auto found = index_.find(std::string(key));
  return found == index_.end() ? nullptr : &entries[found->second].second;
}

void Dict::set(std::string_view key, Value value) {
  if (const Value* known = find(key)) {
    *const_cast<Value*>(known) = std::move(value);
    return;
  }
  entries.emplace_back(std::string(key), std::move(value));
  if (entries.size() <= kIndexFrom) return;
  for (std::size_t i = index_.size(); i < entries.size(); ++i)
    index_.emplace(entries[i].first, i);
}

Value undefined(std::string name) {
  Value value;
  value.text = std::make_shared<const std::string>(std::move(name));
  return value;
}

Value none() {
  Value value;
  value.kind = Kind::kNone;
  return value;
}

Value boolean(bool truth) {
  Value value;
  value.kind = Kind::kBool;
  value.truth = truth;
  return value;
}

Value integer(std::int64_t number) {
  Value value;
  value.kind = Kind::kInt;
  value.integer = number;
  return value;
}

Value floating(double number) {
  Value value;
  value.kind = Kind::kFloat;
  value.number = number;
  return value;
}

Value string(std::string text) {
  Value value;
  value.kind = Kind::kString;
  value.text = std::make_shared<const std::string>(std::move(text));
  return value;
}

void fail(const std::string& message) {
  throw TemplateError(TemplateError::Kind::kFailed, message);
}

void Arena::charge(std::uint64_t steps) {
  if (steps > steps_left_)
    throw TemplateError(TemplateError::Kind::kLimit, "the chat template does more than " +
                                                         std::to_string(limits_.steps) + " steps of work");
  steps_left_ -= steps;
}

Value Arena::list(std::vector<Value> items, bool tuple) {
  charge(1 + 4 * items.size());
  Value value;
  value.kind = Kind::kList;
  value.list = &lists_.emplace_back(List{std::move(items), tuple});
  return value;
}

Value Arena::dict() {
  charge(8);
  Value value;
  value.kind = Kind::kDict;
  value.dict = &dicts_.emplace_back();
  return value;
}

Value Arena::name_space() {
  Value value = dict();
  value.kind = Kind::kNamespace;
  return value;
}

Value Arena::text(std::string text) {
  charge(1 + text.size() / 16);
  if (text.size() > limits_.output_bytes)
    throw TemplateError(TemplateError::Kind::kLimit, "the chat template makes a text of more than " +
                                                         std::to_string(limits_.output_bytes) + " bytes");
  return string(std::move(text));
}

Value Arena::from_json(const base::json::value& value) {
  namespace json = base::json;
  if (const auto* object = value.if_object()) {
    Value made = dict();
    for (const auto& [key, member] : *object) {
      charge(8 + key.size() / 16);
      made.dict->set(std::string_view(key.data(), key.size()), from_json(member));
    }
    return made;
  }
  if (const auto* array = value.if_array()) {
    std::vector<Value> items;
    items.reserve(array->size());
    for (const json::value& item : *array)
      items.push_back(from_json(item));
    return list(std::move(items));
  }
  if (const auto* words = value.if_string()) return text(std::string(words->data(), words->size()));
  if (value.is_int64()) return integer(value.get_int64());
  if (value.is_uint64()) return floating(static_cast<double>(value.get_uint64()));
  if (value.is_double()) return floating(value.get_double());
  if (value.is_bool()) return boolean(value.get_bool());
  return none();
}

std::string_view type_name(const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined:
      return "undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return value.list->tuple ? "tuple" : "list";
    case Kind::kDict:
      return "dict";
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kCallable:
      return "function";
    case Kind::kLoop:
      return "LoopContext";
  }
  return "";
}

bool truthy(const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
      return value.truth;
    case Kind::kInt:
      return value.integer != 0;
    case Kind::kFloat:
      return value.number != 0;
    case Kind::kString:
      return !value.text->empty();
    case Kind::kList:
      return !value.list->items.empty();
    case Kind::kDict:
      return !value.dict->entries.empty();
    default:
      return true;
  }
}

namespace {

// `budget`: shared inner lists can make a small value as wide as 2^100, so the pairs looked at are counted.
bool equal_within(const Value& a, const Value& b, int depth, std::uint64_t& budget) {
  check_depth(depth);
  if (budget-- == 0)
    throw TemplateError(TemplateError::Kind::kLimit, "a comparison looks at too many values");
  if (a.is_number() && b.is_number())
    return a.is_integral() && b.is_integral() ? a.as_int() == b.as_int() : a.as_double() == b.as_double();
  if (a.kind != b.kind) return false;
  switch (a.kind) {
    case Kind::kString:
      return *a.text == *b.text;
    case Kind::kList:
      if (a.list == b.list) return true;
      return a.list->tuple == b.list->tuple &&
             std::equal(
                 a.list->items.begin(), a.list->items.end(), b.list->items.begin(), b.list->items.end(),
                 [&](const Value& x, const Value& y) { return equal_within(x, y, depth + 1, budget); });
    case Kind::kDict:
      if (a.dict == b.dict) return true;
      if (a.dict->entries.size() != b.dict->entries.size()) return false;
      return std::all_of(a.dict->entries.begin(), a.dict->entries.end(), [&](const auto& entry) {
        const Value* other = b.dict->find(entry.first);
        return other != nullptr && equal_within(entry.second, *other, depth + 1, budget);
      });
    case Kind::kNamespace:
      return a.dict == b.dict;
    case Kind::kCallable:
      return a.callable == b.callable;
    case Kind::kLoop:
      return a.loop == b.loop;
    default:
      return true;
  }
}

}  // namespace

bool equal(const Value& a, const Value& b) {
  std::uint64_t budget = 10'000'000;
  return equal_within(a, b, 0, budget);
}

int compare(const Value& a, const Value& b, int depth) {
  check_depth(depth);
  const auto order = [](const auto& x, const auto& y) { return x < y ? -1 : y < x ? 1 : 0; };
  if (a.is_integral() && b.is_integral()) return order(a.as_int(), b.as_int());
  if (a.is_number() && b.is_number()) return order(a.as_double(), b.as_double());
  if (a.is(Kind::kString) && b.is(Kind::kString))
    return order(*a.text, *b.text);  // bytes: the order of code points
  if (a.is(Kind::kList) && b.is(Kind::kList) && a.list->tuple == b.list->tuple) {
    const auto& left = a.list->items;
    const auto& right = b.list->items;
    for (std::size_t i = 0; i < left.size() && i < right.size(); ++i)
      if (!equal(left[i], right[i])) return compare(left[i], right[i], depth + 1);
    return order(left.size(), right.size());
  }
  fail("'" + std::string(type_name(a)) + "' and '" + std::string(type_name(b)) + "' have no order");
}

std::vector<Value> iterate(const Value& value, Arena& arena) {
  std::vector<Value> items;
  switch (value.kind) {
    case Kind::kUndefined:
      return items;
    case Kind::kList:
      arena.charge(value.list->items.size());
      return value.list->items;
    case Kind::kDict:
      for (const auto& [key, member] : value.dict->entries)
        items.push_back(arena.text(key));
      return items;
    case Kind::kString: {
      const std::string& text = *value.text;
      for (std::size_t at = 0; at < text.size();) {
        const std::size_t size = std::max<std::size_t>(1, read_utf8(text, at).size);
        arena.charge(4);
        items.push_back(arena.text(text.substr(at, size)));
        at += size;
      }
      return items;
    }
    default:
      fail("'" + std::string(type_name(value)) + "' is not iterable");
  }
}

std::int64_t length(const Value& value) {
  switch (value.kind) {
    case Kind::kUndefined:
      return 0;
    case Kind::kString:
      return static_cast<std::int64_t>(character_count(*value.text));
    case Kind::kList:
      return std::ssize(value.list->items);
    case Kind::kDict:
      return std::ssize(value.dict->entries);
    default:
      fail("'" + std::string(type_name(value)) + "' has no length");
  }
}

}  // namespace finetuned::text::jinja
