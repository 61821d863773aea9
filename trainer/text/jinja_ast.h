#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "trainer/text/jinja_value.h"

namespace finetuned::text::jinja {

struct Expression;
using ExpressionPtr = std::unique_ptr<Expression>;

/// One node of an expression. `children` by kind, in this order:
struct Expression {
  enum class Kind {
    kConstant,  ///< value
    kName,      ///< name
    kList,
    kTuple,      ///< elements
    kDict,       ///< key, value, key, value, ...
    kAttribute,  ///< object; name
    kItem,       ///< object, index
    kSlice,      ///< object, start, stop, step; null where left out
    kCall,       ///< the called, then arguments
    kMethod,     ///< object, then arguments; name
    kFilter,     ///< input, then arguments; name
    kTest,       ///< input, then arguments; name; negated
    kNot,
    kNegative,
    kPositive,
    kAnd,
    kOr,          ///< left, right
    kConcat,      ///< parts
    kArithmetic,  ///< left, right; name is the operator
    kCompare,     ///< operand, operand, ...; operators
    kCondition,   ///< then, condition, else or null
  };
  Kind kind = Kind::kConstant;
  std::size_t offset = 0;
  std::string name;
  Value value;
  bool negated = false;
  std::vector<ExpressionPtr> children;
  std::vector<std::pair<std::string, ExpressionPtr>> named;  ///< keyword arguments
  std::vector<std::string> operators;
};

struct Statement;
using Block = std::vector<std::unique_ptr<Statement>>;

/// What a `for` or `set` assigns to: a name, a namespace's attribute, or several names.
struct Target {
  std::string name;
  std::string attribute;         ///< of the namespace `name`; empty for a plain name
  std::vector<Target> elements;  ///< unpacking; `name` is empty then
};

struct Parameter {
  std::string name;
  ExpressionPtr otherwise;  ///< null where the parameter has no default
};

struct Statement {
  enum class Kind { kText, kOutput, kIf, kFor, kSet, kSetBlock, kMacro };
  Kind kind = Kind::kText;
  std::string text;          ///< kText; kMacro: its name
  ExpressionPtr expression;  ///< output, condition, iterated or assigned value
  ExpressionPtr filter;      ///< kFor: `if` on the sequence; kSetBlock: the filters on `kBlockInput`
  Target target;
  Block body;
  Block otherwise;  ///< else, or a nested kIf for elif
  std::vector<Parameter> parameters;
};

/// The name that stands for a set block's own text in its filter.
inline constexpr const char* kBlockInput = " block";

struct Program {
  std::string file;
  Block body;
};

}  // namespace finetuned::text::jinja
