#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "base/json.h"

namespace finetuned::inference {

/// A field of a line is wrong; the message names it.
struct FieldError : std::runtime_error {
  std::string field;
  FieldError(const std::string& name, const std::string& why);
};

/// The keys of one JSON object, each of which must be there unless it says otherwise. All functions throw FieldError.
class JsonFields {
 public:
  /// `value` outlives this. `path` stands before each field's name: empty, or `adapter.`.
  JsonFields(const base::json::value& value, std::string path);

  /// Refuses keys that are not among these.
  void only(std::initializer_list<std::string_view> keys) const;
  const base::json::value& value(std::string_view key) const;
  const base::json::value* find(std::string_view key) const;  ///< null where absent or JSON's null
  std::string text(std::string_view key, std::size_t least, std::size_t most) const;
  std::int64_t integer(std::string_view key, std::int64_t least, std::int64_t most) const;
  double number(std::string_view key) const;
  bool boolean(std::string_view key) const;
  const base::json::array& array(std::string_view key, std::size_t least, std::size_t most) const;
  JsonFields object(std::string_view key) const;

  std::string name(std::string_view key) const { return path_ + std::string(key); }

 private:
  const base::json::object* object_;
  std::string path_;
};

/// Of an array's elements: `name` is `stop[2]`.
std::string text_of(const base::json::value& value, const std::string& name, std::size_t least, std::size_t most);
std::int64_t integer_of(const base::json::value& value, const std::string& name, std::int64_t least, std::int64_t most);

}  // namespace finetuned::inference
