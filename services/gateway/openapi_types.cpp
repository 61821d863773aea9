#include "services/gateway/openapi_types.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <charconv>
#include <source_location>
#include <string>
#include <vector>

#include "base/expects.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_'; }
bool is_blank(char c) { return c == ' ' || c == '\n'; }

json::object plain(std::string_view type) { return {{"type", type}}; }

/// Either of the alternatives, null among them where `nullable`; as a reader of the document would write it.
json::object any_of(std::vector<json::object> alternatives, bool nullable) {
  if (alternatives.empty()) return plain("null");
  if (alternatives.size() == 1 && !nullable) return std::move(alternatives.front());
  if (alternatives.size() == 1 && alternatives.front().contains("type")) {
    json::object one = std::move(alternatives.front());
    one["type"] = json::array{one.at("type"), "null"};
    if (json::value* constants = one.if_contains("enum")) constants->as_array().emplace_back(nullptr);
    return one;
  }
  json::array all;
  for (json::object& one : alternatives) all.push_back(std::move(one));
  if (nullable) all.push_back(plain("null"));
  return {{"anyOf", std::move(all)}};
}

/// Reads the notation from left to right.
class Reader {
 public:
  Reader(std::string_view text, std::span<const NamedType> known) : text_(text), known_(known) {}

  json::object whole_type() {
    json::object schema = type();
    need(at_ == text_.size(), "nothing more");
    return schema;
  }

  json::object whole_fields() {
    json::object schema = fields();
    need(at_ == text_.size(), "; or the end");
    return schema;
  }

 private:
  json::object type() {
    std::vector<json::object> alternatives;
    json::array constants;
    bool nullable = false;
    do {
      skip_blanks();
      if (peek() == '\'') {
        constants.emplace_back(quoted());
      } else if (taken("null")) {
        nullable = true;
      } else {
        alternatives.push_back(with_brackets(primary()));
      }
      skip_blanks();
    } while (taken("|"));
    if (!constants.empty()) alternatives.push_back({{"type", "string"}, {"enum", std::move(constants)}});
    return any_of(std::move(alternatives), nullable);
  }

  json::object with_brackets(json::object schema) {
    while (taken("[]")) schema = {{"type", "array"}, {"items", std::move(schema)}};
    return schema;
  }

  json::object primary() {
    if (taken("(")) {
      json::object schema = type();
      need(taken(")"), ")");
      return schema;
    }
    if (taken("{")) {
      json::object schema = fields();
      need(taken("}"), "}");
      return schema;
    }
    if (is_digit(peek())) return bounded();
    const std::string_view name = word();
    if (name == "any") return {};
    if (name == "time") return {{"type", "integer"}, {"format", "unixtime"}};
    if (name == "micro") return {{"type", "string"}, {"pattern", "^[0-9]+$"}, {"format", "micro-points"}};
    if (name == "nano") return {{"type", "string"}, {"pattern", "^-?[0-9]+$"}, {"format", "nano-dollars"}};
    if (name == "binary") return {{"type", "string"}, {"contentMediaType", "application/octet-stream"}};
    for (const char* known : {"string", "integer", "number", "boolean"})
      if (name == known) return plain(name);
    need(name.front() >= 'A' && name.front() <= 'Z', "a type");
    return {{"$ref", "#/components/schemas/" + std::string(name)}};
  }

  json::object bounded() {
    const std::int64_t least = integer();
    need(taken(".."), "..");
    const std::int64_t most = integer();
    return {{"type", "integer"}, {"minimum", least}, {"maximum", most}};
  }

  json::object fields() {
    json::object properties, rest;
    json::array required;
    for (skip_blanks(); at_ < text_.size() && peek() != '}'; skip_blanks()) {
      field(properties, required, rest);
      skip_blanks();
      if (!taken(";")) break;
    }
    json::object schema = plain("object");
    if (!properties.empty()) schema["properties"] = std::move(properties);
    if (!required.empty()) schema["required"] = std::move(required);
    for (auto& [key, value] : rest) schema[key] = value;
    return schema;
  }

  void field(json::object& properties, json::array& required, json::object& rest) {
    if (taken("...")) {
      const json::object spread = type_schema(named(word()), known_);
      for (const auto& [key, value] : spread) {
        if (key == "properties") properties.insert(value.as_object().begin(), value.as_object().end());
        else if (key == "required") required.insert(required.end(), value.as_array().begin(), value.as_array().end());
        else if (key != "type") rest[key] = value;
      }
      return;
    }
    if (taken("[")) {
      word();
      need(taken("]:"), "]:");
      skip_blanks();
      rest["additionalProperties"] = taken("never") ? json::value(false) : json::value(type());
      return;
    }
    const std::string_view name = peek() == '\'' ? quoted() : word();
    const bool optional = taken("?");
    need(taken(":"), ":");
    need(!properties.contains(name), "a field that is not there yet");
    properties[name] = type();
    if (!optional) required.emplace_back(name);
  }

  std::string_view named(std::string_view name) {
    const auto found = std::find_if(known_.begin(), known_.end(), [&](const NamedType& one) { return one.name == name; });
    need(found != known_.end(), "the name of a schema");
    return found->type;
  }

  std::int64_t integer() {
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), number);
    need(error == std::errc(), "an integer");
    at_ = static_cast<std::size_t>(end - text_.data());
    return number;
  }

  std::string_view quoted() {
    const auto end = text_.find('\'', at_ + 1);
    need(end != std::string_view::npos, "'");
    const auto inside = text_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    return inside;
  }

  std::string_view word() {
    const auto begin = at_;
    while (is_word(peek())) ++at_;
    need(at_ > begin, "a name");
    return text_.substr(begin, at_ - begin);
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_blanks() {
    while (is_blank(peek())) ++at_;
  }

  /// Steps over `token`, if it is next; a word must end there.
  bool taken(std::string_view token) {
    if (text_.substr(at_, token.size()) != token) return false;
    if (is_word(token.back()) && at_ + token.size() < text_.size() && is_word(text_[at_ + token.size()])) return false;
    at_ += token.size();
    return true;
  }

  void need(bool met, const char* what) const {
    if (!met)
      base::broken_invariant("`" + std::string(text_) + "`: " + what + " at character " + std::to_string(at_),
                             std::source_location::current());
  }

  std::string_view text_;
  std::span<const NamedType> known_;
  std::size_t at_ = 0;
};

}  // namespace

json::object type_schema(std::string_view type, std::span<const NamedType> known) { return Reader(type, known).whole_type(); }

json::object fields_schema(std::string_view fields, std::span<const NamedType> known) {
  return Reader(fields, known).whole_fields();
}

}  // namespace finetuned::gateway
