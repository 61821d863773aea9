#include "base/errors.h"

#include <utility>

namespace finetuned::base {

namespace {

std::string describe(const std::string& file, const std::string& field, const std::string& message,
                     std::optional<std::uint64_t> offset) {
  std::string text = file;
  if (!field.empty()) text += ": " + field;
  if (offset) text += " (byte " + std::to_string(*offset) + ")";
  return text + ": " + message;
}

}  // namespace

ApiError bad_request(std::string code, const std::string& message, std::optional<std::string> param) {
  return {400, "invalid_request_error", std::move(code), message, std::move(param)};
}

ApiError not_found(const std::string& message, std::optional<std::string> param) {
  return {404, "invalid_request_error", "not_found", message, std::move(param)};
}

ApiError unavailable(const std::string& message) {
  return {503, "server_error", "service_unavailable", message, std::nullopt, true};
}

FormatError::FormatError(std::string in_file, std::string in_field, const std::string& message,
                         std::optional<std::uint64_t> at_offset)
    : std::runtime_error(describe(in_file, in_field, message, at_offset)), file(std::move(in_file)),
      field(std::move(in_field)), offset(at_offset) {}

}  // namespace finetuned::base
