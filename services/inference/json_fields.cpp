#include "services/inference/json_fields.h"

#include <algorithm>

namespace finetuned::inference {

FieldError::FieldError(const std::string& name, const std::string& why)
    : std::runtime_error(name.empty() ? why : "'" + name + "' " + why), field(name) {}

JsonFields::JsonFields(const base::json::value& value, std::string path) : object_(value.if_object()), path_(std::move(path)) {
  if (!object_) throw FieldError(path_.empty() ? "" : path_.substr(0, path_.size() - 1), "must be an object");
}

void JsonFields::only(std::initializer_list<std::string_view> keys) const {
  for (const auto& field : *object_)
    if (std::find(keys.begin(), keys.end(), std::string_view(field.key())) == keys.end())
      throw FieldError(name(field.key()), "is unknown here");
}

const base::json::value& JsonFields::value(std::string_view key) const {
  const base::json::value* const found = object_->if_contains(key);
  if (!found) throw FieldError(name(key), "is missing");
  return *found;
}

const base::json::value* JsonFields::find(std::string_view key) const {
  const base::json::value* const found = object_->if_contains(key);
  return found && !found->is_null() ? found : nullptr;
}

std::string JsonFields::text(std::string_view key, std::size_t least, std::size_t most) const {
  return text_of(value(key), name(key), least, most);
}

std::int64_t JsonFields::integer(std::string_view key, std::int64_t least, std::int64_t most) const {
  return integer_of(value(key), name(key), least, most);
}

double JsonFields::number(std::string_view key) const {
  const base::json::value& found = value(key);
  if (const double* const number = found.if_double()) return *number;
  if (const std::int64_t* const number = found.if_int64()) return static_cast<double>(*number);
  throw FieldError(name(key), "must be a number");
}

bool JsonFields::boolean(std::string_view key) const {
  const bool* const truth = value(key).if_bool();
  if (!truth) throw FieldError(name(key), "must be true or false");
  return *truth;
}

const base::json::array& JsonFields::array(std::string_view key, std::size_t least, std::size_t most) const {
  const base::json::array* const found = value(key).if_array();
  if (!found || found->size() < least || found->size() > most)
    throw FieldError(name(key), "must be an array of " + std::to_string(least) + " to " + std::to_string(most) + " elements");
  return *found;
}

JsonFields JsonFields::object(std::string_view key) const { return {value(key), name(key) + "."}; }

std::string text_of(const base::json::value& value, const std::string& name, std::size_t least, std::size_t most) {
  const base::json::string* const text = value.if_string();
  if (!text || text->size() < least || text->size() > most)
    throw FieldError(name, "must be a text of " + std::to_string(least) + " to " + std::to_string(most) + " bytes");
  return {text->data(), text->size()};
}

std::int64_t integer_of(const base::json::value& value, const std::string& name, std::int64_t least, std::int64_t most) {
  const std::int64_t* const integer = value.if_int64();
  if (!integer || *integer < least || *integer > most)
    throw FieldError(name, "must be an integer from " + std::to_string(least) + " to " + std::to_string(most));
  return *integer;
}

}  // namespace finetuned::inference
