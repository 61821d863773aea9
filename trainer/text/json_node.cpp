#include "trainer/text/json_node.h"

#include "base/errors.h"

namespace finetuned::text {

namespace json = base::json;

void JsonNode::refuse(const std::string& message) const {
  throw base::FormatError(*file_, path_, message);
}

std::string JsonNode::below(std::string_view key) const {
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

const json::object& JsonNode::object() const {
  if (!value_->is_object()) refuse("an object is expected");
  return value_->get_object();
}

std::optional<JsonNode> JsonNode::find(std::string_view key) const {
  const json::value* member = object().if_contains(json::string_view(key.data(), key.size()));
  if (member == nullptr || member->is_null()) return std::nullopt;
  return JsonNode(*file_, below(key), *member);
}

JsonNode JsonNode::at(std::string_view key) const {
  std::optional<JsonNode> member = find(key);
  if (!member) throw base::FormatError(*file_, below(key), "is missing");
  return *member;
}

std::size_t JsonNode::size() const {
  if (!value_->is_array()) refuse("an array is expected");
  return value_->get_array().size();
}

JsonNode JsonNode::item(std::size_t index) const {
  return JsonNode(*file_, path_ + "[" + std::to_string(index) + "]", value_->as_array().at(index));
}

std::string JsonNode::string() const {
  if (!value_->is_string()) refuse("a string is expected");
  const json::string& text = value_->get_string();
  return std::string(text.data(), text.size());
}

std::int64_t JsonNode::integer() const {
  if (!value_->is_int64()) refuse("an integer is expected");
  return value_->get_int64();
}

bool JsonNode::boolean() const {
  if (!value_->is_bool()) refuse("true or false is expected");
  return value_->get_bool();
}

bool JsonNode::flag(std::string_view key, bool otherwise) const {
  const std::optional<JsonNode> member = find(key);
  return member ? member->boolean() : otherwise;
}

}  // namespace finetuned::text
