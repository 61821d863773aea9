#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"

namespace finetuned::formats {

/// Reads typed, bounded fields of one JSON object of a file. `null` counts as absent. Every refusal is a FormatError
/// that names the file and the field.
class JsonFields {
 public:
  /// `object` and `file` outlive this; `prefix` is put before field names in messages, e.g. `rope_scaling.`.
  JsonFields(const base::json::object& object, const std::string& file, std::string prefix = "")
      : object_(object), file_(file), prefix_(std::move(prefix)) {}

  const base::json::value* find(std::string_view field) const;  ///< nullptr where absent or null

  std::int64_t integer(std::string_view field, std::int64_t least, std::int64_t most) const;
  std::int64_t integer_or(std::string_view field, std::int64_t least, std::int64_t most, std::int64_t absent) const;
  double number(std::string_view field, double least, double most) const;
  double number_or(std::string_view field, double least, double most, double absent) const;
  bool boolean_or(std::string_view field, bool absent) const;
  std::string text_or(std::string_view field, std::string_view absent) const;

  [[noreturn]] void refuse(std::string_view field, const std::string& message) const;

 private:
  const base::json::object& object_;
  const std::string& file_;
  std::string prefix_;
};

/// Parses `text`, which must be one JSON object. Throws FormatError.
base::json::object parse_json_object(std::string_view text, const std::string& file);
/// The same from a file of at most 4 MB. Throws FormatError (absent files too).
base::json::object read_json_object(const std::filesystem::path& file);

}  // namespace finetuned::formats
