#include "trainer/text/jinja_lexer.h"

#include <algorithm>
#include <charconv>

#include "base/errors.h"
#include "trainer/text/python_text.h"
#include "trainer/text/utf8.h"

namespace finetuned::text::jinja {

void refuse(const std::string& file, const std::string& message, std::size_t offset) {
  throw base::FormatError(file, "chat_template", message, offset);
}

namespace {

using Kind = Token::Kind;

bool name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool digit(char c) {
  return c >= '0' && c <= '9';
}

// Python reads a template's line ends as \n.
std::string plain_lines(std::string_view source) {
  std::string out;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
      continue;
    }
    out += '\n';
    if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
  }
  if (out.ends_with('\n')) out.pop_back();
  return out;
}

class Lexer {
 public:
  Lexer(const std::string& file, std::string source) : file_(file), source_(std::move(source)) {}

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      const std::size_t tag = next_tag();
      data(tag);
      if (at_ >= source_.size()) break;
      const char kind = source_[at_ + 1];
      if (kind == '#')
        comment();
      else
        tag_content(kind == '{');
    }
    push(Kind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void stop(const std::string& message) const { refuse(file_, message, at_); }
  void push(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), {}, at_}); }
  char peek(std::size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }

  std::size_t next_tag() const {
    for (std::size_t i = source_.find('{', at_); i != std::string::npos; i = source_.find('{', i + 1))
      if (i + 1 < source_.size() && (source_[i + 1] == '{' || source_[i + 1] == '%' || source_[i + 1] == '#'))
        return i;
    return source_.size();
  }

  // The text up to the tag at `end`, less what the tag's sign or lstrip_blocks takes.
  void data(std::size_t end) {
    std::string_view text = std::string_view(source_).substr(at_, end - at_);
    if (end < source_.size()) {
      const char sign = end + 2 < source_.size() ? source_[end + 2] : '\0';
      const std::size_t line = text.rfind('\n') == std::string_view::npos ? 0 : text.rfind('\n') + 1;
      if (sign == '-')
        text = strip_right(text, std::nullopt);
      else if (sign != '+' && source_[end + 1] != '{' && (line > 0 || line_starting_) &&
               strip_left(text.substr(line), std::nullopt).empty())
        text = text.substr(0, line);
    }
    if (!text.empty()) push(Kind::kData, std::string(text));
    at_ = end;
  }

  void comment() {
    const std::size_t begin = at_;
    const std::size_t end = source_.find("#}", begin + 2);
    if (end == std::string::npos) stop("a comment is not closed");
    at_ = end + 2;
    after_tag(end > begin + 3 ? source_[end - 1] : '\0', true);
  }

  // What trim_blocks and a closing `-` take behind a tag.
  void after_tag(char sign, bool block) {
    const std::size_t begin = at_;
    if (sign == '-')
      at_ = source_.size() - strip_left(std::string_view(source_).substr(at_), std::nullopt).size();
    else if (block && sign != '+' && peek() == '\n')
      ++at_;
    line_starting_ = at_ > begin && source_[at_ - 1] == '\n';
  }

  void tag_content(bool output) {
    push(output ? Kind::kOutputBegin : Kind::kTagBegin, "");
    at_ += 2;
    if (peek() == '-' || peek() == '+') ++at_;
    std::vector<char> open;
    const std::string close = output ? "}}" : "%}";
    while (true) {
      while (at_ < source_.size() && is_python_space(static_cast<unsigned char>(source_[at_])))
        ++at_;
      if (at_ >= source_.size()) stop("a tag is not closed");
      const std::string_view rest = std::string_view(source_).substr(at_);
      if (open.empty()) {
        const char sign = rest[0] == '-' || (rest[0] == '+' && !output) ? rest[0] : '\0';
        if (rest.substr(sign != '\0' ? 1 : 0).starts_with(close)) {
          push(output ? Kind::kOutputEnd : Kind::kTagEnd, "");
          at_ += sign != '\0' ? 3 : 2;
          return after_tag(sign, !output);
        }
      }
      one_token(rest, open);
    }
  }

  void one_token(std::string_view rest, std::vector<char>& open) {
    const char c = rest[0];
    if (name_start(c)) {
      std::size_t size = 1;
      while (size < rest.size() && (name_start(rest[size]) || digit(rest[size])))
        ++size;
      push(Kind::kName, std::string(rest.substr(0, size)));
      at_ += size;
    } else if (digit(c)) {
      number(rest);
    } else if (c == '\'' || c == '"') {
      quoted(rest);
    } else {
      sign(rest, open);
    }
  }

  void sign(std::string_view rest, std::vector<char>& open) {
    for (const char* two : {"==", "!=", ">=", "<=", "//", "**"})
      if (rest.starts_with(two)) {
        push(Kind::kOperator, two);
        at_ += 2;
        return;
      }
    const char c = rest[0];
    if (std::string_view("+-/*%~[](){}<>=.:|,").find(c) == std::string_view::npos)
      stop(std::string("the character '") +
           std::string(rest.substr(0, std::max<std::size_t>(1, read_utf8(rest, 0).size))) +
           "' is not expected here");
    if (c == '(' || c == '[' || c == '{') open.push_back(c == '(' ? ')' : c == '[' ? ']' : '}');
    if (c == ')' || c == ']' || c == '}') {
      if (open.empty() || open.back() != c) stop(std::string("'") + c + "' closes nothing");
      open.pop_back();
    }
    push(Kind::kOperator, std::string(&c, 1));
    ++at_;
  }

  void number(std::string_view rest) {
    std::string digits;
    std::size_t size = 0;
    bool floating_point = false;
    const auto run = [&] {
      while (size < rest.size() &&
             (digit(rest[size]) || (rest[size] == '_' && size + 1 < rest.size() && digit(rest[size + 1])))) {
        if (rest[size] != '_') digits += rest[size];
        ++size;
      }
    };
    run();
    if (size + 1 < rest.size() && rest[size] == '.' && digit(rest[size + 1])) {
      floating_point = true;
      digits += rest[size++];
      run();
    }
    if (size < rest.size() && (rest[size] == 'e' || rest[size] == 'E')) {
      std::size_t digits_at = size + 1;
      if (digits_at < rest.size() && (rest[digits_at] == '+' || rest[digits_at] == '-')) ++digits_at;
      if (digits_at < rest.size() && digit(rest[digits_at])) {
        floating_point = true;
        digits += rest.substr(size, digits_at - size);
        size = digits_at;
        run();
      }
    }
    if (size < rest.size() && name_start(rest[size])) stop("a number is followed by a letter");
    Token token{Kind::kNumber, std::string(rest.substr(0, size)), {}, at_};
    std::from_chars_result read{};
    const char* end = digits.data() + digits.size();
    std::int64_t whole = 0;
    double fraction = 0;
    if (floating_point)
      read = std::from_chars(digits.data(), end, fraction);
    else
      read = std::from_chars(digits.data(), end, whole);
    if (read.ec != std::errc() || read.ptr != end) stop("a number is out of range");
    token.number = floating_point ? floating(fraction) : integer(whole);
    tokens_.push_back(std::move(token));
    at_ += size;
  }

  void quoted(std::string_view rest) {
    std::string text;
    std::size_t i = 1;
    for (; i < rest.size() && rest[i] != rest[0]; ++i) {
      if (rest[i] == '\\' && i + 1 < rest.size())
        i = escape(rest, i + 1, text);
      else
        text += rest[i];
    }
    if (i >= rest.size()) stop("a string is not closed");
    push(Kind::kString, std::move(text));
    at_ += i + 1;
  }

  // Python's escapes; returns the place of the escape's last character.
  std::size_t escape(std::string_view rest, std::size_t i, std::string& text) {
    constexpr std::string_view kNames = "abfnrtv\\'\"";
    constexpr std::string_view kMeanings = "\a\b\f\n\r\t\v\\'\"";
    const char c = rest[i];
    if (const std::size_t known = kNames.find(c); known != std::string_view::npos) {
      text += kMeanings[known];
      return i;
    }
    if (c == '\n') return i;
    const std::size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits > 0) {
      std::uint32_t point = 0;
      if (i + digits >= rest.size()) stop("a string escape is cut off");
      const char* begin = rest.data() + i + 1;
      const auto read = std::from_chars(begin, begin + digits, point, 16);
      if (read.ptr != begin + digits || point > 0x10FFFF || (point >= 0xD800 && point < 0xE000))
        stop("a string escape is no character");
      append_utf8(text, point);
      return i + digits;
    }
    if (c >= '0' && c <= '7') {
      std::uint32_t point = 0;
      std::size_t end = i;
      while (end < i + 3 && end < rest.size() && rest[end] >= '0' && rest[end] <= '7')
        point = point * 8 + static_cast<std::uint32_t>(rest[end++] - '0');
      append_utf8(text, point);
      return end - 1;
    }
    if (c == 'N') stop("\\N{...} is not supported in a string");
    text += '\\';
    text += c;
    return i;
  }

  const std::string& file_;
  std::string source_;
  std::size_t at_ = 0;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokenize(const std::string& file, std::string_view source) {
  return Lexer(file, plain_lines(source)).run();
}

}  // namespace finetuned::text::jinja
