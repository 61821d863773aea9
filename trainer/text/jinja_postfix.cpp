// What stands behind a value: attributes, items, calls, filters and tests.
#include "trainer/text/jinja_names.h"
#include "trainer/text/jinja_parser.h"

namespace finetuned::text::jinja {

using Kind = Expression::Kind;

ExpressionPtr ExpressionParser::postfix(ExpressionPtr object) {
  while (true) {
    link();
    if (is_operator("."))
      object = attribute(std::move(object));
    else if (is_operator("["))
      object = subscript(std::move(object));
    else if (is_operator("("))
      object = call(std::move(object));
    else
      return object;
  }
}

ExpressionPtr ExpressionParser::attribute(ExpressionPtr object) {
  need_operator(".");
  if (now().kind == Token::Kind::kNumber && now().number.is(Value::Kind::kInt)) {
    auto node = make(Kind::kItem);
    auto index = make(Kind::kConstant);
    index->value = now().number;
    ++at_;
    node->children.push_back(std::move(object));
    node->children.push_back(std::move(index));
    return node;
  }
  auto node = make(Kind::kAttribute);
  node->name = need_name();
  node->children.push_back(std::move(object));
  if (node->name.starts_with("_")) stop("the attribute '" + node->name + "' is out of reach");
  if (is_operator("(")) {
    if (!is_known_method(node->name))
      stop("the method '" + node->name + "' is not supported; known are " + known_methods());
    node->kind = Kind::kMethod;
    arguments(*node);
  }
  return node;
}

ExpressionPtr ExpressionParser::subscript(ExpressionPtr object) {
  auto node = make(Kind::kItem);
  need_operator("[");
  node->children.push_back(std::move(object));
  if (!is_operator(":")) node->children.push_back(expression());
  if (is_operator(":")) {
    node->kind = Kind::kSlice;
    if (node->children.size() == 1) node->children.push_back(nullptr);
    while (take_operator(":")) {
      if (node->children.size() == 4) stop("a slice has three parts at most");
      node->children.push_back(is_operator(":") || is_operator("]") ? nullptr : expression());
    }
    node->children.resize(4);
  }
  need_operator("]");
  return node;
}

ExpressionPtr ExpressionParser::call(ExpressionPtr called) {
  if (called->kind != Kind::kName) stop("only functions, macros and methods can be called");
  called_.emplace_back(called->name, now().offset);
  auto node = make(Kind::kCall);
  node->children.push_back(std::move(called));
  arguments(*node);
  return node;
}

void ExpressionParser::arguments(Expression& node) {
  need_operator("(");
  bool first = true;
  while (!is_operator(")")) {
    if (!first) need_operator(",");
    first = false;
    if (is_operator(")")) break;
    if (is_operator("*") || is_operator("**")) stop("'*' arguments are not supported");
    if (now().kind == Token::Kind::kName && ahead().kind == Token::Kind::kOperator && ahead().text == "=") {
      std::string name = need_name();
      need_operator("=");
      node.named.emplace_back(std::move(name), expression());
    } else {
      if (!node.named.empty()) stop("a positional argument stands behind a named one");
      node.children.push_back(expression());
    }
  }
  need_operator(")");
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr input) {
  while (true) {
    link();
    if (is_operator("|"))
      input = filter(std::move(input));
    else if (is_name("is"))
      input = test(std::move(input));
    else if (is_operator("("))
      input = call(std::move(input));
    else
      return input;
  }
}

ExpressionPtr ExpressionParser::filter(ExpressionPtr input) {
  need_operator("|");
  auto node = make(Kind::kFilter);
  node->name = need_name();
  if (!is_known_filter(node->name))
    stop("the filter '" + node->name + "' is not supported; known are " + known_filters());
  node->children.push_back(std::move(input));
  if (is_operator("(")) arguments(*node);
  return node;
}

ExpressionPtr ExpressionParser::test(ExpressionPtr input) {
  take_name("is");
  auto node = make(Kind::kTest);
  node->negated = take_name("not");
  node->name = need_name();
  if (!is_known_test(node->name))
    stop("the test '" + node->name + "' is not supported; known are " + known_tests());
  node->children.push_back(std::move(input));
  if (is_operator("(")) {
    arguments(*node);
    return node;
  }
  const bool value = now().kind == Token::Kind::kString || now().kind == Token::Kind::kNumber ||
                     is_operator("[") || is_operator("{") ||
                     (now().kind == Token::Kind::kName && !is_name("else") && !is_name("or") &&
                      !is_name("and") && !is_name("is") && !is_name("if"));
  if (value && test_takes_argument(node->name)) node->children.push_back(postfix(primary()));
  return node;
}

}  // namespace finetuned::text::jinja
