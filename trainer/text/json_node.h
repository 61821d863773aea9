#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace finetuned::text {

/// A JSON value and where it stands in its file, so that every complaint names file and field.
/// Refers to the document, which outlives it. All accessors throw base::FormatError on another type.
class JsonNode {
 public:
  JsonNode(const std::string& file, std::string path, const base::json::value& value)
      : file_(&file), path_(std::move(path)), value_(&value) {}

  JsonNode at(std::string_view key) const;                   ///< throws where the key is missing
  std::optional<JsonNode> find(std::string_view key) const;  ///< absent for a missing key and for null
  std::size_t size() const;                                  ///< of an array
  JsonNode item(std::size_t index) const;                    ///< of an array

  std::string string() const;
  std::int64_t integer() const;
  bool boolean() const;
  bool flag(std::string_view key, bool otherwise) const;  ///< a boolean member, `otherwise` where absent
  const base::json::object& object() const;
  bool is_string() const { return value_->is_string(); }
  bool is_object() const { return value_->is_object(); }
  bool is_array() const { return value_->is_array(); }

  const std::string& file() const { return *file_; }
  const std::string& path() const { return path_; }
  [[noreturn]] void refuse(const std::string& message) const;

 private:
  std::string below(std::string_view key) const;

  const std::string* file_;
  std::string path_;
  const base::json::value* value_;
};

}  // namespace finetuned::text
