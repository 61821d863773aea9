#include "trainer/text/jinja_parser.h"

#include <algorithm>

namespace finetuned::text::jinja {

namespace {
constexpr std::size_t kMostLinks =
    1000;  // of operators, attributes and filters in one tag: each deepens the tree
}  // namespace

using Kind = Expression::Kind;

/// Counts the nesting of what is being read.
struct ExpressionParser::Deeper {
  explicit Deeper(ExpressionParser& parser) : parser_(parser) {
    if (++parser_.depth_ > parser_.limits_.nesting) parser_.stop("expressions are nested too deep");
  }
  ~Deeper() { --parser_.depth_; }
  Deeper(const Deeper&) = delete;
  Deeper& operator=(const Deeper&) = delete;
  ExpressionParser& parser_;
};

bool ExpressionParser::take_operator(std::string_view text) {
  if (!is_operator(text)) return false;
  ++at_;
  return true;
}

bool ExpressionParser::take_name(std::string_view text) {
  if (!is_name(text)) return false;
  ++at_;
  return true;
}

void ExpressionParser::need_operator(std::string_view text) {
  if (!take_operator(text)) stop("'" + std::string(text) + "' is expected");
}

std::string ExpressionParser::need_name() {
  if (now().kind != Token::Kind::kName) stop("a name is expected");
  return tokens_[at_++].text;
}

void ExpressionParser::link() {
  if (++links_ > kMostLinks) stop("an expression is too long");
}

ExpressionPtr ExpressionParser::make(Kind kind, std::string name) const {
  auto node = std::make_unique<Expression>();
  node->kind = kind;
  node->name = std::move(name);
  node->offset = now().offset;
  return node;
}

bool ExpressionParser::tuple_ends() const {
  return now().kind == Token::Kind::kOutputEnd || now().kind == Token::Kind::kTagEnd || is_operator(")") ||
         is_name("if") || is_name("recursive");
}

ExpressionPtr ExpressionParser::tuple(bool conditions) {
  ExpressionPtr first = conditions ? expression() : disjunction();
  if (!is_operator(",")) return first;
  auto node = make(Kind::kTuple);
  node->children.push_back(std::move(first));
  while (take_operator(",") && !tuple_ends())
    node->children.push_back(conditions ? expression() : disjunction());
  return node;
}

ExpressionPtr ExpressionParser::expression() {
  const Deeper deeper(*this);
  ExpressionPtr node = disjunction();
  while (is_name("if")) {
    auto condition = make(Kind::kCondition);
    link();
    ++at_;
    condition->children.push_back(std::move(node));
    condition->children.push_back(disjunction());
    condition->children.push_back(take_name("else") ? expression() : nullptr);
    node = std::move(condition);
  }
  return node;
}

ExpressionPtr ExpressionParser::disjunction() {
  ExpressionPtr left = conjunction();
  while (is_name("or")) {
    auto node = make(Kind::kOr);
    link();
    ++at_;
    node->children.push_back(std::move(left));
    node->children.push_back(conjunction());
    left = std::move(node);
  }
  return left;
}

ExpressionPtr ExpressionParser::conjunction() {
  ExpressionPtr left = negation();
  while (is_name("and")) {
    auto node = make(Kind::kAnd);
    link();
    ++at_;
    node->children.push_back(std::move(left));
    node->children.push_back(negation());
    left = std::move(node);
  }
  return left;
}

ExpressionPtr ExpressionParser::negation() {
  const Deeper deeper(*this);
  if (!is_name("not")) return comparison();
  auto node = make(Kind::kNot);
  ++at_;
  node->children.push_back(negation());
  return node;
}

ExpressionPtr ExpressionParser::comparison() {
  ExpressionPtr first = sum();
  ExpressionPtr node;
  while (true) {
    std::string sign;
    static constexpr std::string_view kSigns[] = {"==", "!=", "<", ">", "<=", ">="};
    if (now().kind == Token::Kind::kOperator && std::ranges::find(kSigns, now().text) != std::end(kSigns))
      sign = now().text;
    else if (is_name("in"))
      sign = "in";
    else if (is_name("not") && ahead().kind == Token::Kind::kName && ahead().text == "in")
      sign = "not in";
    if (sign.empty()) break;
    if (!node) {
      node = make(Kind::kCompare);
      node->children.push_back(std::move(first));
    }
    at_ += sign == "not in" ? 2 : 1;
    node->operators.push_back(sign);
    node->children.push_back(sum());
  }
  return node ? std::move(node) : std::move(first);
}

ExpressionPtr ExpressionParser::sum() {
  ExpressionPtr left = concatenation();
  while (is_operator("+") || is_operator("-")) {
    auto node = make(Kind::kArithmetic, now().text);
    link();
    ++at_;
    node->children.push_back(std::move(left));
    node->children.push_back(concatenation());
    left = std::move(node);
  }
  return left;
}

ExpressionPtr ExpressionParser::concatenation() {
  ExpressionPtr first = product();
  if (!is_operator("~")) return first;
  auto node = make(Kind::kConcat);
  node->children.push_back(std::move(first));
  while (take_operator("~"))
    node->children.push_back(product());
  return node;
}

ExpressionPtr ExpressionParser::product() {
  ExpressionPtr left = power();
  while (is_operator("*") || is_operator("/") || is_operator("//") || is_operator("%")) {
    auto node = make(Kind::kArithmetic, now().text);
    link();
    ++at_;
    node->children.push_back(std::move(left));
    node->children.push_back(power());
    left = std::move(node);
  }
  return left;
}

ExpressionPtr ExpressionParser::power() {
  ExpressionPtr left = unary(true);
  while (is_operator("**")) {
    auto node = make(Kind::kArithmetic, "**");
    link();
    ++at_;
    node->children.push_back(std::move(left));
    node->children.push_back(unary(true));
    left = std::move(node);
  }
  return left;
}

ExpressionPtr ExpressionParser::unary(bool with_filters) {
  const Deeper deeper(*this);
  ExpressionPtr node;
  if (is_operator("-") || is_operator("+")) {
    node = make(is_operator("-") ? Kind::kNegative : Kind::kPositive);
    ++at_;
    node->children.push_back(unary(false));
  } else {
    node = primary();
  }
  node = postfix(std::move(node));
  return with_filters ? filters(std::move(node)) : std::move(node);
}

ExpressionPtr ExpressionParser::primary() {
  const Token& token = now();
  if (token.kind == Token::Kind::kString) {
    auto node = make(Kind::kConstant);
    std::string text;
    while (now().kind == Token::Kind::kString)
      text += tokens_[at_++].text;
    node->value = string(std::move(text));
    return node;
  }
  if (token.kind == Token::Kind::kNumber) {
    auto node = make(Kind::kConstant);
    node->value = token.number;
    ++at_;
    return node;
  }
  if (token.kind == Token::Kind::kName) {
    auto node = make(Kind::kConstant);
    ++at_;
    if (token.text == "true" || token.text == "True")
      node->value = boolean(true);
    else if (token.text == "false" || token.text == "False")
      node->value = boolean(false);
    else if (token.text == "none" || token.text == "None")
      node->value = none();
    else {
      node->kind = Kind::kName;
      node->name = token.text;
    }
    return node;
  }
  if (is_operator("(")) return parenthesized();
  if (is_operator("[")) return list();
  if (is_operator("{")) return dict();
  stop("a value is expected");
}

ExpressionPtr ExpressionParser::parenthesized() {
  auto empty = make(Kind::kTuple);
  need_operator("(");
  if (take_operator(")")) return empty;
  ExpressionPtr node = tuple(true);
  need_operator(")");
  return node;
}

ExpressionPtr ExpressionParser::list() {
  auto node = make(Kind::kList);
  need_operator("[");
  while (!is_operator("]")) {
    if (!node->children.empty()) need_operator(",");
    if (is_operator("]")) break;
    node->children.push_back(expression());
  }
  need_operator("]");
  return node;
}

ExpressionPtr ExpressionParser::dict() {
  auto node = make(Kind::kDict);
  need_operator("{");
  while (!is_operator("}")) {
    if (!node->children.empty()) need_operator(",");
    if (is_operator("}")) break;
    node->children.push_back(expression());
    need_operator(":");
    node->children.push_back(expression());
  }
  need_operator("}");
  return node;
}

}  // namespace finetuned::text::jinja
