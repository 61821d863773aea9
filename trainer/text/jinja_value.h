#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json.h"
#include "trainer/text/chat_template.h"

namespace finetuned::text::jinja {

struct List;
struct Dict;
struct Callable;
struct LoopState;

/// A value of a template: Python's, as far as chat templates see them. Text is shared; containers belong to
/// the rendering's Arena, so that a value that holds itself costs nothing special.
struct Value {
  enum class Kind {
    kUndefined,
    kNone,
    kBool,
    kInt,
    kFloat,
    kString,
    kList,
    kDict,
    kNamespace,
    kCallable,
    kLoop
  };
  Kind kind = Kind::kUndefined;
  union {
    bool truth;
    std::int64_t integer = 0;
    double number;
    List* list;
    Dict* dict;  ///< of a namespace too
    const Callable* callable;
    LoopState* loop;
  };
  std::shared_ptr<const std::string> text;  ///< a string; of an undefined value its name

  bool is(Kind other) const { return kind == other; }
  bool is_number() const { return kind == Kind::kBool || kind == Kind::kInt || kind == Kind::kFloat; }
  bool is_integral() const { return kind == Kind::kBool || kind == Kind::kInt; }
  std::int64_t as_int() const { return kind == Kind::kBool ? (truth ? 1 : 0) : integer; }
  double as_double() const { return kind == Kind::kFloat ? number : static_cast<double>(as_int()); }
  const std::string& str() const { return *text; }
};

struct List {
  std::vector<Value> items;
  bool tuple = false;
};

/// Keeps the order of insertion, as Python's dict does.
struct Dict {
  static constexpr std::size_t kNoMessage = ~std::size_t{0};
  std::vector<std::pair<std::string, Value>> entries;
  std::size_t message = kNoMessage;  ///< its place in `messages`

  const Value* find(std::string_view key) const;
  void set(std::string_view key, Value value);

 private:
  std::unordered_map<std::string, std::size_t> index_;  // used once there are more than a few entries
};

Value undefined(std::string name);
Value none();
Value boolean(bool truth);
Value integer(std::int64_t number);
Value floating(double number);
Value string(std::string text);

[[noreturn]] void fail(const std::string& message);

/// Owns the containers of one rendering and counts its work.
class Arena {
 public:
  explicit Arena(const TemplateLimits& limits) : limits_(limits), steps_left_(limits.steps) {}

  /// Throws TemplateError of kind kLimit once the rendering's steps are used up.
  void charge(std::uint64_t steps);
  Value list(std::vector<Value> items, bool tuple = false);
  Value dict();
  Value name_space();
  /// A string, its bytes charged; refused beyond the output limit.
  Value text(std::string text);
  Value from_json(const base::json::value& value);
  const TemplateLimits& limits() const { return limits_; }

 private:
  TemplateLimits limits_;
  std::uint64_t steps_left_;
  std::deque<List> lists_;
  std::deque<Dict> dicts_;
};

std::string_view type_name(const Value& value);  ///< Python's name of the type
bool truthy(const Value& value);
bool equal(const Value& a, const Value& b);
/// -1, 0, 1; fails where Python has no order.
int compare(const Value& a, const Value& b, int depth = 0);
std::string to_text(const Value& value);  ///< Python's str()
std::string to_repr(const Value& value);  ///< Python's repr()
std::string float_repr(double number);
/// Python's items of an iteration: elements, characters, keys. Fails for what is not iterable.
std::vector<Value> iterate(const Value& value, Arena& arena);
std::int64_t length(const Value& value);

/// How json.dumps writes.
struct JsonStyle {
  std::optional<std::int64_t> indent;
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::string item_separator;  ///< empty: Python's default for this indent
  std::string key_separator;
};
std::string to_json(const Value& value, const JsonStyle& style);

}  // namespace finetuned::text::jinja
