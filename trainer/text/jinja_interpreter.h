#pragma once

#include <cstddef>
#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "trainer/text/jinja_ast.h"
#include "trainer/text/jinja_value.h"

namespace finetuned::text::jinja {

/// Variables, and where to look further.
struct Scope {
  Scope* parent = nullptr;
  std::vector<std::pair<std::string, Value>> variables;

  const Value* find(std::string_view name) const;
  void set(std::string_view name, Value value);
};

/// A macro with the scope it was defined in, or a built-in function.
struct Callable {
  std::string name;
  const Statement* macro = nullptr;
  Scope* scope = nullptr;
};

/// `loop` inside a for.
struct LoopState {
  const std::vector<Value>* items = nullptr;
  std::size_t index = 0;
  std::optional<std::vector<Value>> changed;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  /// The argument at `place`, or named `name`; null where it was not given.
  const Value* find(std::size_t place, std::string_view name) const;
  /// Fails for more arguments than `most`.
  void at_most(std::size_t most, std::string_view of) const;
  std::int64_t integer(std::size_t place, std::string_view name, std::int64_t otherwise) const;
  bool truth(std::size_t place, std::string_view name, bool otherwise) const;
  /// Fails where it is missing or no string.
  const std::string& text(std::size_t place, std::string_view name) const;
};

/// One rendering of one program. Everything it makes dies with it.
class Interpreter {
 public:
  Interpreter(const Program& program, const RenderInput& input, const TemplateLimits& limits);
  Rendered run();

 private:
  /// Counts nested evaluation, whatever nests it.
  struct Deeper {
    explicit Deeper(Interpreter& of);
    ~Deeper() { --interpreter.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    Interpreter& interpreter;
  };

  /// A scope for a block. It stays where a macro was defined meanwhile, which may need it later.
  class Frame {
   public:
    Frame(Interpreter& of, Scope* parent);
    ~Frame();
    Frame(const Frame&) = delete;
    Frame& operator=(const Frame&) = delete;
    Scope& scope;

   private:
    Interpreter& interpreter_;
    std::size_t macros_;
  };

  void execute(const Block& block, Scope& scope);
  void execute(const Statement& statement, Scope& scope);
  void run_if(const Statement& statement, Scope& scope);
  void run_for(const Statement& statement, Scope& scope);
  std::string captured(const Block& block, Scope& scope);
  void assign(const Target& target, Value value, Scope& scope);
  void write(std::string_view text);
  Value call_macro(const Callable& macro, Arguments arguments);

  Value evaluate(const Expression& node, Scope& scope);
  Value operand(const Expression& node, std::size_t child, Scope& scope) {
    return evaluate(*node.children[child], scope);
  }
  Value with_sign(const Value& value, bool negative);
  Value name(const Expression& node, Scope& scope);
  Value dict(const Expression& node, Scope& scope);
  Value slice(const Expression& node, Scope& scope);
  Value call(const Expression& node, Scope& scope);
  Value compare_chain(const Expression& node, Scope& scope);
  Value concat(const Expression& node, Scope& scope);
  Arguments arguments(const Expression& node, Scope& scope);
  Value attribute(const Value& object, const std::string& name);
  Value item(const Value& object, const Value& index);
  Value loop_attribute(const LoopState& loop, const std::string& name);
  Value arithmetic(const std::string& sign, const Value& a, const Value& b);
  Value repeat(const Value& sequence, std::int64_t times);
  bool contains(const Value& container, const Value& element);

  Value filter(const std::string& name, const Value& input, const Arguments& arguments);
  Value text_filter(const std::string& name, const Value& input, const Arguments& arguments);
  Value sequence_filter(const std::string& name, const Value& input, const Arguments& arguments);
  Value to_json_filter(const Value& input, const Arguments& arguments);
  Value int_filter(const Value& input, const Arguments& arguments);
  Value dict_sort(const Value& input, const Arguments& arguments);
  Value map(const Value& input, const Arguments& arguments);
  Value select(const std::string& name, const Value& input, const Arguments& arguments);
  Value path(const Value& object, const Value& path);
  bool test(const std::string& name, const Value& input, const Arguments& arguments);

  Value method(const std::string& name, const Value& object, const Arguments& arguments);
  Value text_method(const std::string& name, const Value& object, const Arguments& arguments);
  Value dict_method(const std::string& name, const Value& object, const Arguments& arguments);
  Value loop_method(const std::string& name, LoopState& loop, const Arguments& arguments);
  Value function(const std::string& name, const Arguments& arguments);
  Value range(const Arguments& arguments);
  Value strftime_now(const Arguments& arguments);
  Value pairs(const Value& dict);

  const Program& program_;
  const RenderInput& input_;
  Arena arena_;
  std::deque<Scope> scopes_;
  std::deque<Callable> macros_;
  std::deque<Callable> functions_;
  std::deque<LoopState> loops_;
  std::string root_;
  std::string* out_ = &root_;
  std::vector<MessageSpan> spans_;
  std::size_t message_ = Dict::kNoMessage;  // the message a `for` stands at
  std::size_t depth_ = 0;
  std::size_t calls_ = 0;
};

}  // namespace finetuned::text::jinja
