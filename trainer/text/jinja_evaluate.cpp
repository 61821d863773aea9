#include <cmath>

#include "trainer/text/jinja_interpreter.h"
#include "trainer/text/jinja_names.h"
#include "trainer/text/python_text.h"

namespace finetuned::text::jinja {

namespace {

using Kind = Value::Kind;
using Node = Expression::Kind;

[[noreturn]] void fail_undefined(const Value& value) {
  fail("'" + value.str() + "' is undefined");
}

// `result` by reference: the operation that `overflow` comes from writes it while the arguments are
// evaluated.
std::int64_t checked(bool overflow, const std::int64_t& result) {
  if (overflow) fail("an integer is too large");
  return result;
}

std::int64_t floor_divide(std::int64_t a, std::int64_t b) {
  if (b == 0) fail("division by zero");
  if (b == -1) {
    std::int64_t result = 0;
    return checked(__builtin_sub_overflow(std::int64_t{0}, a, &result), result);
  }
  const std::int64_t quotient = a / b;
  return quotient - ((a % b != 0 && (a < 0) != (b < 0)) ? 1 : 0);
}

Value integer_power(std::int64_t base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == 0) fail("division by zero");
    return floating(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  }
  if (base == 0 || base == 1) return integer(exponent == 0 ? 1 : base);
  if (base == -1) return integer(exponent % 2 == 0 ? 1 : -1);
  std::int64_t result = 1;
  for (; exponent > 0; --exponent)
    checked(__builtin_mul_overflow(result, base, &result), result);
  return integer(result);
}

Value integer_arithmetic(const std::string& sign, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (sign == "+") return integer(checked(__builtin_add_overflow(a, b, &result), result));
  if (sign == "-") return integer(checked(__builtin_sub_overflow(a, b, &result), result));
  if (sign == "*") return integer(checked(__builtin_mul_overflow(a, b, &result), result));
  if (sign == "//") return integer(floor_divide(a, b));
  if (sign == "**") return integer_power(a, b);
  if (b == 0) fail("division by zero");
  if (sign == "/") return floating(static_cast<double>(a) / static_cast<double>(b));
  return integer(b == -1 ? 0 : ((a % b) + b) % b);
}

Value float_arithmetic(const std::string& sign, double a, double b) {
  if (sign == "+") return floating(a + b);
  if (sign == "-") return floating(a - b);
  if (sign == "*") return floating(a * b);
  if (sign == "**") return floating(std::pow(a, b));
  if (b == 0) fail("division by zero");
  if (sign == "/") return floating(a / b);
  if (sign == "//") return floating(std::floor(a / b));
  const double rest = std::fmod(a, b);
  return floating(rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest);
}

std::optional<std::int64_t> bound(const Value& value) {
  if (value.is(Kind::kNone)) return std::nullopt;
  if (!value.is_integral()) fail("a slice's parts must be integers");
  return value.as_int();
}

}  // namespace

Value Interpreter::evaluate(const Expression& node, Scope& scope) {
  const Deeper deeper(*this);
  arena_.charge(1);
  switch (node.kind) {
    case Node::kConstant:
      return node.value;
    case Node::kName:
      return name(node, scope);
    case Node::kList:
    case Node::kTuple: {
      std::vector<Value> items;
      for (const auto& child : node.children)
        items.push_back(evaluate(*child, scope));
      return arena_.list(std::move(items), node.kind == Node::kTuple);
    }
    case Node::kDict:
      return dict(node, scope);
    case Node::kAttribute:
      return attribute(operand(node, 0, scope), node.name);
    case Node::kItem: {
      const Value object = operand(node, 0, scope);
      return item(object, operand(node, 1, scope));
    }
    case Node::kSlice:
      return slice(node, scope);
    case Node::kCall:
      return call(node, scope);
    case Node::kMethod: {
      const Value object = operand(node, 0, scope);
      return method(node.name, object, arguments(node, scope));
    }
    case Node::kFilter: {
      const Value input = operand(node, 0, scope);
      return filter(node.name, input, arguments(node, scope));
    }
    case Node::kTest: {
      const Value input = operand(node, 0, scope);
      return boolean(test(node.name, input, arguments(node, scope)) != node.negated);
    }
    case Node::kNot:
      return boolean(!truthy(operand(node, 0, scope)));
    case Node::kNegative:
    case Node::kPositive:
      return with_sign(operand(node, 0, scope), node.kind == Node::kNegative);
    case Node::kAnd: {
      Value left = operand(node, 0, scope);
      return truthy(left) ? operand(node, 1, scope) : left;
    }
    case Node::kOr: {
      Value left = operand(node, 0, scope);
      return truthy(left) ? left : operand(node, 1, scope);
    }
    case Node::kConcat:
      return concat(node, scope);
    case Node::kArithmetic: {
      const Value left = operand(node, 0, scope);
      return arithmetic(node.name, left, operand(node, 1, scope));
    }
    case Node::kCompare:
      return compare_chain(node, scope);
    case Node::kCondition:
      if (truthy(operand(node, 1, scope))) return operand(node, 0, scope);
      return node.children[2] ? operand(node, 2, scope) : undefined("the inline if without else");
  }
  return {};
}

Value Interpreter::with_sign(const Value& value, bool negative) {
  if (value.is(Kind::kFloat)) return floating(negative ? -value.number : value.number);
  return arithmetic(negative ? "-" : "+", integer(0), value);
}

Value Interpreter::name(const Expression& node, Scope& scope) {
  if (const Value* value = scope.find(node.name)) return *value;
  if (!is_known_function(node.name)) return undefined(node.name);
  Value value;
  value.kind = Kind::kCallable;
  value.callable = nullptr;
  for (const Callable& known : functions_)
    if (known.name == node.name) value.callable = &known;
  if (value.callable == nullptr)
    value.callable = &functions_.emplace_back(Callable{node.name, nullptr, nullptr});
  return value;
}

Value Interpreter::dict(const Expression& node, Scope& scope) {
  Value made = arena_.dict();
  for (std::size_t i = 0; i + 1 < node.children.size(); i += 2) {
    const Value key = operand(node, i, scope);
    if (!key.is(Kind::kString)) fail("a dictionary's keys must be strings");
    arena_.charge(8);
    made.dict->set(key.str(), operand(node, i + 1, scope));
  }
  return made;
}

Value Interpreter::concat(const Expression& node, Scope& scope) {
  std::string text;
  for (const auto& child : node.children) {
    text += to_text(evaluate(*child, scope));
    if (text.size() > arena_.limits().output_bytes) break;  // arena_.text refuses it
  }
  return arena_.text(std::move(text));
}

Value Interpreter::slice(const Expression& node, Scope& scope) {
  const Value object = operand(node, 0, scope);
  std::optional<std::int64_t> parts[3];
  for (std::size_t i = 0; i < 3; ++i)
    if (node.children[i + 1]) parts[i] = bound(operand(node, i + 1, scope));
  const std::int64_t step = parts[2].value_or(1);
  if (step == 0) fail("a slice's step cannot be 0");
  if (object.is(Kind::kUndefined)) fail_undefined(object);
  if (object.is(Kind::kString)) {
    arena_.charge(object.str().size() / 4);
    return arena_.text(slice_characters(object.str(), parts[0], parts[1], step));
  }
  if (!object.is(Kind::kList)) fail("'" + std::string(type_name(object)) + "' cannot be sliced");
  const auto& items = object.list->items;
  std::vector<Value> taken;
  for (const std::size_t i : slice_indices(items.size(), parts[0], parts[1], step))
    taken.push_back(items[i]);
  return arena_.list(std::move(taken), object.list->tuple);
}

Arguments Interpreter::arguments(const Expression& node, Scope& scope) {
  Arguments made;
  for (std::size_t i = 1; i < node.children.size(); ++i)
    made.positional.push_back(operand(node, i, scope));
  for (const auto& [key, value] : node.named)
    made.named.emplace_back(key, evaluate(*value, scope));
  return made;
}

Value Interpreter::call(const Expression& node, Scope& scope) {
  const Value called = operand(node, 0, scope);
  if (called.is(Kind::kUndefined)) fail_undefined(called);
  if (!called.is(Kind::kCallable)) fail("'" + std::string(type_name(called)) + "' cannot be called");
  Arguments given = arguments(node, scope);
  if (called.callable->macro != nullptr) return call_macro(*called.callable, std::move(given));
  return function(called.callable->name, given);
}

Value Interpreter::compare_chain(const Expression& node, Scope& scope) {
  Value left = operand(node, 0, scope);
  for (std::size_t i = 0; i < node.operators.size(); ++i) {
    Value right = operand(node, i + 1, scope);
    const std::string& sign = node.operators[i];
    bool holds = false;
    if (sign == "==")
      holds = equal(left, right);
    else if (sign == "!=")
      holds = !equal(left, right);
    else if (sign == "in")
      holds = contains(right, left);
    else if (sign == "not in")
      holds = !contains(right, left);
    else {
      const int order = compare(left, right);
      holds = sign == "<" ? order < 0 : sign == ">" ? order > 0 : sign == "<=" ? order <= 0 : order >= 0;
    }
    if (!holds) return boolean(false);
    left = std::move(right);
  }
  return boolean(true);
}

bool Interpreter::contains(const Value& container, const Value& element) {
  switch (container.kind) {
    case Kind::kUndefined:
      return false;
    case Kind::kString:
      if (!element.is(Kind::kString))
        fail("'in <string>' needs a string, not '" + std::string(type_name(element)) + "'");
      arena_.charge(1 + container.str().size() / 64);
      return container.str().find(element.str()) != std::string::npos;
    case Kind::kDict:
      return element.is(Kind::kString) && container.dict->find(element.str()) != nullptr;
    case Kind::kList:
      for (const Value& one : container.list->items) {
        arena_.charge(1);
        if (equal(one, element)) return true;
      }
      return false;
    default:
      fail("'" + std::string(type_name(container)) + "' contains nothing");
  }
}

Value Interpreter::attribute(const Value& object, const std::string& name) {
  switch (object.kind) {
    case Kind::kUndefined:
      fail_undefined(object);
    case Kind::kDict:
      if (name == "items" || name == "keys" || name == "values" || name == "get")
        fail("'." + name + "' is a method of a dictionary and must be called; its key is read by ['" + name +
             "']");
      [[fallthrough]];
    case Kind::kNamespace:
      if (const Value* value = object.dict->find(name)) return *value;
      return undefined(name);
    case Kind::kLoop:
      return loop_attribute(*object.loop, name);
    default:
      return undefined(name);
  }
}

Value Interpreter::item(const Value& object, const Value& index) {
  switch (object.kind) {
    case Kind::kUndefined:
      fail_undefined(object);
    case Kind::kDict:
      if (index.is(Kind::kString))
        if (const Value* value = object.dict->find(index.str())) return *value;
      return undefined(to_text(index));
    case Kind::kList: {
      if (!index.is_integral()) return undefined(to_text(index));
      const auto count = std::ssize(object.list->items);
      const std::int64_t at = index.as_int() < 0 ? index.as_int() + count : index.as_int();
      if (at < 0 || at >= count) return undefined("the list's item " + std::to_string(index.as_int()));
      return object.list->items[static_cast<std::size_t>(at)];
    }
    case Kind::kString: {
      if (!index.is_integral()) return undefined(to_text(index));
      arena_.charge(object.str().size() / 4);
      std::optional<std::string> character = character_at(object.str(), index.as_int());
      return character ? arena_.text(std::move(*character)) : undefined("the text's character");
    }
    default:
      return index.is(Kind::kString) ? attribute(object, index.str()) : undefined(to_text(index));
  }
}

Value Interpreter::loop_attribute(const LoopState& loop, const std::string& name) {
  if (loop.items == nullptr) fail("'loop' is used after its loop");
  const auto index = static_cast<std::int64_t>(loop.index);
  const std::int64_t count = std::ssize(*loop.items);
  if (name == "index") return integer(index + 1);
  if (name == "index0") return integer(index);
  if (name == "revindex") return integer(count - index);
  if (name == "revindex0") return integer(count - index - 1);
  if (name == "first") return boolean(index == 0);
  if (name == "last") return boolean(index + 1 == count);
  if (name == "length") return integer(count);
  // Jinja2 counts the depth of recursive loops only.
  if (name == "depth") return integer(1);
  if (name == "depth0") return integer(0);
  if (name == "previtem" && index > 0) return (*loop.items)[loop.index - 1];
  if (name == "nextitem" && index + 1 < count) return (*loop.items)[loop.index + 1];
  return undefined("loop." + name);
}

Value Interpreter::repeat(const Value& sequence, std::int64_t times) {
  const auto count = static_cast<std::size_t>(std::max<std::int64_t>(0, times));
  if (sequence.is(Kind::kString)) {
    const std::size_t size = sequence.str().size();
    if (size == 0) return sequence;
    if (count > arena_.limits().output_bytes / size)
      throw TemplateError(TemplateError::Kind::kLimit, "a repeated text is too long");
    std::string text;
    text.reserve(size * count);
    for (std::size_t i = 0; i < count; ++i)
      text += sequence.str();
    return arena_.text(std::move(text));
  }
  const auto& items = sequence.list->items;
  if (items.empty()) return arena_.list({}, sequence.list->tuple);
  if (count > arena_.limits().steps / items.size())
    throw TemplateError(TemplateError::Kind::kLimit, "a repeated list is too long");
  arena_.charge(4 * count * items.size());
  std::vector<Value> all;
  for (std::size_t i = 0; i < count; ++i)
    all.insert(all.end(), items.begin(), items.end());
  return arena_.list(std::move(all), sequence.list->tuple);
}

Value Interpreter::arithmetic(const std::string& sign, const Value& a, const Value& b) {
  if (a.is(Kind::kUndefined)) fail_undefined(a);
  if (b.is(Kind::kUndefined)) fail_undefined(b);
  if (a.is_integral() && b.is_integral()) return integer_arithmetic(sign, a.as_int(), b.as_int());
  if (a.is_number() && b.is_number()) return float_arithmetic(sign, a.as_double(), b.as_double());
  if (sign == "+" && a.is(Kind::kString) && b.is(Kind::kString)) {
    std::string text;
    text.reserve(a.str().size() + b.str().size());
    text += a.str();
    text += b.str();
    return arena_.text(std::move(text));
  }
  if (sign == "+" && a.is(Kind::kList) && b.is(Kind::kList) && a.list->tuple == b.list->tuple) {
    std::vector<Value> all = a.list->items;
    all.insert(all.end(), b.list->items.begin(), b.list->items.end());
    return arena_.list(std::move(all), a.list->tuple);
  }
  const auto sequence = [](const Value& value) { return value.is(Kind::kString) || value.is(Kind::kList); };
  if (sign == "*" && sequence(a) && b.is_integral()) return repeat(a, b.as_int());
  if (sign == "*" && a.is_integral() && sequence(b)) return repeat(b, a.as_int());
  fail("'" + sign + "' cannot join '" + std::string(type_name(a)) + "' and '" + std::string(type_name(b)) +
       "'");
}

}  // namespace finetuned::text::jinja
