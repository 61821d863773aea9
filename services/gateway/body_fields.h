#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace finetuned::gateway {

/// One field of a JSON body each. Absent and null are the same: nullopt. What is there and wrong throws ApiError 400
/// `invalid_value`, whose param is `path` + `key`.
class BodyFields {
 public:
  /// `body` outlives this.
  explicit BodyFields(const base::json::object& body, std::string path = "") : body_(body), path_(std::move(path)) {}

  /// 1 to `most` characters.
  std::optional<std::string> text(const char* key, std::size_t most) const;
  std::optional<std::int64_t> integer(const char* key, std::int64_t least, std::int64_t most) const;
  std::optional<double> number(const char* key, double least, double most) const;
  std::optional<bool> boolean(const char* key) const;
  std::optional<std::string> choice(const char* key, std::initializer_list<std::string_view> choices) const;
  std::optional<std::string> email(const char* key) const;
  const base::json::value* find(const char* key) const;  ///< null where absent or null

  /// Refuses a value of a field that OpenAI has and this platform cannot honour.
  void refuse(const char* key, const std::string& why) const;
  [[noreturn]] void wrong(const char* key, const std::string& why) const;

  /// 400 `missing_required_parameter` where there is none.
  template <class T>
  T required(const char* key, std::optional<T> value) const {
    if (!value) missing(key);
    return std::move(*value);
  }

 private:
  [[noreturn]] void missing(const char* key) const;
  const base::json::object& body_;
  std::string path_;
};

/// Whether it looks like an address: something without blanks on both sides of one @, at most 254 bytes.
bool is_email(std::string_view text);

}  // namespace finetuned::gateway
