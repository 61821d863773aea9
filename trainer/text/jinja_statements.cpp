#include <algorithm>

#include "trainer/text/jinja_names.h"
#include "trainer/text/jinja_parser.h"

namespace finetuned::text::jinja {

namespace {

constexpr std::size_t kMostStatements = 100'000;

class ProgramParser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Block run() {
    Block body = block({});
    check_calls();
    return body;
  }

 private:
  using Ends = std::vector<std::string_view>;

  std::unique_ptr<Statement> statement(Statement::Kind kind) {
    if (++statements_ > kMostStatements) stop("has too many statements");
    auto node = std::make_unique<Statement>();
    node->kind = kind;
    return node;
  }

  // Statements up to one of `ends`, at whose name the parser then stands; to the end of the source without
  // any.
  Block block(const Ends& ends) {
    if (++depth_ > limits_.nesting) stop("tags are nested too deep");
    Block body;
    while (true) {
      const Token& token = now();
      if (token.kind == Token::Kind::kEnd) {
        if (!ends.empty()) stop("'" + std::string(ends.back()) + "' is missing");
        break;
      }
      ++at_;
      links_ = 0;
      if (token.kind == Token::Kind::kData) {
        body.push_back(statement(Statement::Kind::kText));
        body.back()->text = token.text;
      } else if (token.kind == Token::Kind::kOutputBegin) {
        body.push_back(statement(Statement::Kind::kOutput));
        body.back()->expression = tuple(true);
        need(Token::Kind::kOutputEnd);
      } else {
        if (now().kind == Token::Kind::kName && std::ranges::find(ends, now().text) != ends.end()) break;
        body.push_back(tag());
      }
    }
    --depth_;
    return body;
  }

  void need(Token::Kind kind) {
    if (now().kind != kind) stop(kind == Token::Kind::kTagEnd ? "'%}' is expected" : "'}}' is expected");
    ++at_;
  }

  std::unique_ptr<Statement> tag() {
    const std::size_t begin = at_;
    const std::string name = need_name();
    if (name == "if") return condition();
    if (name == "for") return loop();
    if (name == "set") return assignment();
    if (name == "macro") return macro();
    at_ = begin;
    stop("the tag '" + name + "' is not supported here; known are if, for, set and macro");
  }

  std::unique_ptr<Statement> condition() {
    auto node = statement(Statement::Kind::kIf);
    node->expression = tuple(false);
    if (is_name("if")) stop("a condition in a condition needs parentheses");
    need(Token::Kind::kTagEnd);
    node->body = block({"elif", "else", "endif"});
    Statement* last = node.get();
    while (take_name("elif")) {  // a chain, built without recursion: it may be long
      auto branch = statement(Statement::Kind::kIf);
      branch->expression = tuple(false);
      need(Token::Kind::kTagEnd);
      branch->body = block({"elif", "else", "endif"});
      if (++branches_ > limits_.nesting * 10) stop("has too many elif branches");
      last->otherwise.push_back(std::move(branch));
      last = last->otherwise.back().get();
    }
    if (take_name("else")) {
      need(Token::Kind::kTagEnd);
      last->otherwise = block({"endif"});
    }
    if (!take_name("endif")) stop("'endif' is expected");
    need(Token::Kind::kTagEnd);
    return node;
  }

  Target one_target(bool attributes) {
    if (take_operator("(")) {
      Target target = targets(attributes);
      need_operator(")");
      return target;
    }
    Target target;
    target.name = need_name();
    static constexpr std::string_view kReserved[] = {"true",  "false", "none", "True",
                                                     "False", "None",  "loop"};
    if (std::ranges::find(kReserved, target.name) != std::end(kReserved))
      stop("'" + target.name + "' cannot be assigned to");
    if (attributes && take_operator(".")) target.attribute = need_name();
    return target;
  }

  Target targets(bool attributes) {
    Target first = one_target(attributes);
    if (!is_operator(",")) return first;
    Target all;
    all.elements.push_back(std::move(first));
    while (take_operator(",") && now().kind == Token::Kind::kName && !is_name("in"))
      all.elements.push_back(one_target(attributes));
    return all;
  }

  std::unique_ptr<Statement> loop() {
    auto node = statement(Statement::Kind::kFor);
    node->target = targets(false);
    if (!take_name("in")) stop("'in' is expected");
    node->expression = tuple(false);
    if (take_name("if")) node->filter = expression();
    if (is_name("recursive")) stop("recursive loops are not supported");
    need(Token::Kind::kTagEnd);
    node->body = block({"else", "endfor"});
    if (take_name("else")) {
      need(Token::Kind::kTagEnd);
      node->otherwise = block({"endfor"});
    }
    if (!take_name("endfor")) stop("'endfor' is expected");
    need(Token::Kind::kTagEnd);
    return node;
  }

  std::unique_ptr<Statement> assignment() {
    auto node = statement(Statement::Kind::kSet);
    node->target = targets(true);
    note_names(node->target);
    if (take_operator("=")) {
      node->expression = tuple(true);
      need(Token::Kind::kTagEnd);
      return node;
    }
    node->kind = Statement::Kind::kSetBlock;
    if (!node->target.elements.empty()) stop("a block is assigned to one name");
    if (is_operator("|")) node->filter = filters(make(Expression::Kind::kName, kBlockInput));
    need(Token::Kind::kTagEnd);
    node->body = block({"endset"});
    ++at_;
    need(Token::Kind::kTagEnd);
    return node;
  }

  std::unique_ptr<Statement> macro() {
    auto node = statement(Statement::Kind::kMacro);
    node->text = need_name();
    assigned_.insert(node->text);
    need_operator("(");
    while (!is_operator(")")) {
      if (!node->parameters.empty()) need_operator(",");
      Parameter parameter{need_name(), nullptr};
      if (take_operator("="))
        parameter.otherwise = expression();
      else if (!node->parameters.empty() && node->parameters.back().otherwise)
        stop("a parameter without default stands behind one with");
      node->parameters.push_back(std::move(parameter));
    }
    need_operator(")");
    need(Token::Kind::kTagEnd);
    node->body = block({"endmacro"});
    ++at_;
    if (now().kind == Token::Kind::kName) ++at_;  // the macro's name may stand again
    need(Token::Kind::kTagEnd);
    return node;
  }

  void note_names(const Target& target) {
    if (target.elements.empty()) assigned_.insert(target.name);
    for (const Target& element : target.elements)
      note_names(element);
  }

  void check_calls() {
    for (const auto& [name, offset] : called_)
      if (!is_known_function(name) && !assigned_.contains(name))
        refuse(file_, "the function '" + name + "' is not supported; known are " + known_functions(), offset);
  }

  std::set<std::string> assigned_;
  std::size_t statements_ = 0;
  std::size_t branches_ = 0;
};

}  // namespace

std::unique_ptr<Program> parse_program(const std::string& file, std::string_view source,
                                       const TemplateLimits& limits) {
  if (source.size() > limits.source_bytes)
    refuse(file, "is longer than " + std::to_string(limits.source_bytes) + " bytes", limits.source_bytes);
  const std::vector<Token> tokens = tokenize(file, source);
  auto program = std::make_unique<Program>();
  program->file = file;
  program->body = ProgramParser(file, tokens, limits).run();
  return program;
}

}  // namespace finetuned::text::jinja
