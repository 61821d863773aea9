#include "trainer/formats/json_fields.h"

#include <cmath>
#include <limits>

#include "base/errors.h"
#include "base/files.h"

namespace finetuned::formats {

namespace json = base::json;

namespace {

constexpr std::uint64_t kMaxBytes = 4u << 20;

std::string number_text(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", value);
  return text;
}

}  // namespace

const json::value* JsonFields::find(std::string_view field) const {
  const json::value* value = object_.if_contains(field);
  return value && !value->is_null() ? value : nullptr;
}

void JsonFields::refuse(std::string_view field, const std::string& message) const {
  throw base::FormatError(file_, prefix_ + std::string(field), message);
}

std::int64_t JsonFields::integer(std::string_view field, std::int64_t least, std::int64_t most) const {
  const json::value* value = find(field);
  if (!value) refuse(field, "is missing");
  if (!value->is_int64() || value->get_int64() < least || value->get_int64() > most)
    refuse(field, "is not an integer from " + std::to_string(least) + " to " + std::to_string(most));
  return value->get_int64();
}

std::int64_t JsonFields::integer_or(std::string_view field, std::int64_t least, std::int64_t most,
                                    std::int64_t absent) const {
  return find(field) ? integer(field, least, most) : absent;
}

double JsonFields::number(std::string_view field, double least, double most) const {
  const json::value* value = find(field);
  if (!value) refuse(field, "is missing");
  const double got = value->is_number() ? value->to_number<double>() : std::numeric_limits<double>::quiet_NaN();
  if (!(got >= least && got <= most))
    refuse(field, "is not a number from " + number_text(least) + " to " + number_text(most));
  return got;
}

double JsonFields::number_or(std::string_view field, double least, double most, double absent) const {
  return find(field) ? number(field, least, most) : absent;
}

bool JsonFields::boolean_or(std::string_view field, bool absent) const {
  const json::value* value = find(field);
  if (!value) return absent;
  if (!value->is_bool()) refuse(field, "is neither true nor false");
  return value->get_bool();
}

std::string JsonFields::text_or(std::string_view field, std::string_view absent) const {
  const json::value* value = find(field);
  if (!value) return std::string(absent);
  if (!value->is_string()) refuse(field, "is not text");
  return std::string(value->get_string());
}

json::object parse_json_object(std::string_view text, const std::string& file) {
  try {
    json::value value = base::parse_json(text, {.depth = 32, .bytes = kMaxBytes});
    if (!value.is_object()) throw base::FormatError(file, "", "is not a JSON object");
    return std::move(value.get_object());
  } catch (const base::JsonError& error) {
    throw base::FormatError(file, "", error.what(), error.offset);
  }
}

json::object read_json_object(const std::filesystem::path& file) {
  if (!std::filesystem::is_regular_file(file))
    throw base::FormatError(file.string(), "", "is missing; give a complete Hugging Face directory");
  return parse_json_object(base::read_file(file, kMaxBytes), file.string());
}

}  // namespace finetuned::formats
