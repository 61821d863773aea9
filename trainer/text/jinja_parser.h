#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/text/jinja_ast.h"
#include "trainer/text/jinja_lexer.h"

namespace finetuned::text::jinja {

/// Reads tokens into expressions, with Jinja2's precedence.
class ExpressionParser {
 public:
  ExpressionParser(const std::string& file, const std::vector<Token>& tokens, const TemplateLimits& limits)
      : file_(file), tokens_(tokens), limits_(limits) {}

 protected:
  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[at_ + 1 < tokens_.size() ? at_ + 1 : at_]; }
  bool is_operator(std::string_view text) const {
    return now().kind == Token::Kind::kOperator && now().text == text;
  }
  bool is_name(std::string_view text) const { return now().kind == Token::Kind::kName && now().text == text; }
  bool take_operator(std::string_view text);
  bool take_name(std::string_view text);
  void need_operator(std::string_view text);
  std::string need_name();
  [[noreturn]] void stop(const std::string& message) const { refuse(file_, message, now().offset); }

  /// A tuple where commas follow, else one expression. `conditions`: whether `a if b` may stand there.
  ExpressionPtr tuple(bool conditions);
  ExpressionPtr expression();
  ExpressionPtr disjunction();
  ExpressionPtr filters(ExpressionPtr input);
  ExpressionPtr make(Expression::Kind kind, std::string name = "") const;

  const std::string& file_;
  const std::vector<Token>& tokens_;
  const TemplateLimits& limits_;
  std::size_t at_ = 0;
  std::size_t depth_ = 0;
  std::size_t links_ = 0;  ///< operators and the like in the current tag
  std::vector<std::pair<std::string, std::size_t>>
      called_;  ///< names that are called, to be checked at the end

 private:
  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr power();
  ExpressionPtr unary(bool with_filters);
  ExpressionPtr primary();
  ExpressionPtr list();
  ExpressionPtr dict();
  ExpressionPtr parenthesized();
  ExpressionPtr postfix(ExpressionPtr object);
  ExpressionPtr attribute(ExpressionPtr object);
  ExpressionPtr subscript(ExpressionPtr object);
  ExpressionPtr call(ExpressionPtr called);
  ExpressionPtr filter(ExpressionPtr input);
  ExpressionPtr test(ExpressionPtr input);
  void arguments(Expression& node);
  void link();
  bool tuple_ends() const;
  struct Deeper;
};

/// Reads a whole template. Throws base::FormatError for what is outside the subset.
std::unique_ptr<Program> parse_program(const std::string& file, std::string_view source,
                                       const TemplateLimits& limits);

}  // namespace finetuned::text::jinja
