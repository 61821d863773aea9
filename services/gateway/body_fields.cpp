#include "services/gateway/body_fields.h"

#include <algorithm>
#include <cstdio>

#include "base/errors.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

constexpr std::size_t kMostEmail = 254;

/// Characters, not bytes, of UTF-8.
std::size_t length_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

}  // namespace

bool is_email(std::string_view text) {
  const auto at = text.find('@');
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) > ' ' && c != 0x7f; });
  return plain && text.size() <= kMostEmail && at != std::string_view::npos && at > 0 && at + 1 < text.size() &&
         text.find('@', at + 1) == std::string_view::npos;
}

const json::value* BodyFields::find(const char* key) const {
  const json::value* value = body_.if_contains(key);
  return value && !value->is_null() ? value : nullptr;
}

std::optional<std::string> BodyFields::text(const char* key, std::size_t most) const {
  const json::value* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_string()) wrong(key, "must be a string");
  std::string text(value->get_string());
  if (text.empty() || length_of(text) > most) wrong(key, "must have 1 to " + std::to_string(most) + " characters");
  return text;
}

std::optional<std::int64_t> BodyFields::integer(const char* key, std::int64_t least, std::int64_t most) const {
  const json::value* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_int64() || value->get_int64() < least || value->get_int64() > most)
    wrong(key, "must be an integer from " + std::to_string(least) + " to " + std::to_string(most));
  return value->get_int64();
}

std::optional<double> BodyFields::number(const char* key, double least, double most) const {
  const json::value* value = find(key);
  if (!value) return std::nullopt;
  const double number = value->is_number() ? value->to_number<double>() : least - 1;
  if (!(number >= least && number <= most)) {
    char bounds[80];
    std::snprintf(bounds, sizeof bounds, "must be a number from %g to %g", least, most);
    wrong(key, bounds);
  }
  return number;
}

std::optional<bool> BodyFields::boolean(const char* key) const {
  const json::value* value = find(key);
  if (!value) return std::nullopt;
  if (!value->is_bool()) wrong(key, "must be true or false");
  return value->get_bool();
}

std::optional<std::string> BodyFields::choice(const char* key, std::initializer_list<std::string_view> choices) const {
  const json::value* value = find(key);
  if (!value) return std::nullopt;
  std::string all;
  for (const std::string_view one : choices) {
    if (value->is_string() && value->get_string() == one) return std::string(one);
    all += (all.empty() ? "" : " or ") + std::string(one);
  }
  wrong(key, "must be " + all);
}

std::optional<std::string> BodyFields::email(const char* key) const {
  auto address = text(key, kMostEmail);
  if (address && !is_email(*address)) wrong(key, "must be an e-mail address");
  return address;
}

void BodyFields::refuse(const char* key, const std::string& why) const {
  if (find(key)) wrong(key, "is not supported here: " + why);
}

void BodyFields::missing(const char* key) const {
  throw base::bad_request("missing_required_parameter", "Missing required parameter: " + path_ + key + ".", path_ + key);
}

void BodyFields::wrong(const char* key, const std::string& why) const {
  throw base::bad_request("invalid_value", path_ + key + " " + why + ".", path_ + key);
}

}  // namespace finetuned::gateway
