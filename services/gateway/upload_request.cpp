#include "services/gateway/upload_request.h"

#include <set>

#include "base/errors.h"
#include "base/ids.h"
#include "services/gateway/file_request.h"
#include "services/gateway/job_request.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

constexpr std::size_t kMostFilename = 256, kMostMimeType = 256;
constexpr std::size_t kMd5Digits = 32;

[[noreturn]] void refuse(const std::string& param, const std::string& why) {
  throw base::bad_request("invalid_value", param + " " + why + ".", param);
}

const json::value& required(const json::object& body, const char* key) {
  const json::value* value = body.if_contains(key);
  if (!value || value->is_null())
    throw base::bad_request("missing_required_parameter", std::string("Missing required parameter: ") + key + ".", key);
  return *value;
}

std::string required_text(const json::object& body, const char* key, std::size_t most) {
  const json::value& value = required(body, key);
  if (!value.is_string() || value.get_string().empty() || value.get_string().size() > most)
    refuse(key, "must be a string of 1 to " + std::to_string(most) + " bytes");
  return std::string(value.get_string());
}

std::optional<std::int64_t> read_expiry(const json::object& body) {
  const json::value* value = body.if_contains("expires_after");
  if (!value || value->is_null()) return std::nullopt;
  if (!value->is_object()) refuse("expires_after", "must be an object with anchor and seconds");
  const json::object& fields = value->get_object();
  const json::value* anchor = fields.if_contains("anchor");
  const json::value* seconds = fields.if_contains("seconds");
  return checked_expiry(anchor && anchor->is_string() ? std::string_view(anchor->get_string()) : std::string_view(),
                        seconds && seconds->is_int64() ? std::optional(seconds->get_int64()) : std::nullopt);
}

std::optional<std::string> read_md5(const json::object& body) {
  const json::value* value = body.if_contains("md5");
  if (!value || value->is_null()) return std::nullopt;
  std::string digits = value->is_string() ? std::string(value->get_string()) : "";
  for (char& c : digits)
    if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
  if (digits.size() != kMd5Digits || digits.find_first_not_of("0123456789abcdef") != std::string::npos)
    refuse("md5", "must be the 32 hexadecimal digits of the whole file's MD5");
  return digits;
}

}  // namespace

storage::NewUpload parse_upload_request(std::string_view text) {
  const json::object body = parse_body(text);
  storage::NewUpload upload;
  upload.filename = label_of(required_text(body, "filename", kMostFilename));
  upload.purpose = required_text(body, "purpose", kMostFilename);
  check_purpose(upload.purpose);
  const json::value& bytes = required(body, "bytes");
  if (!bytes.is_int64() || bytes.get_int64() < 1 || bytes.get_int64() > storage::kMostUploadBytes)
    refuse("bytes", "must be an integer from 1 to " + std::to_string(storage::kMostUploadBytes) + " (8 GB)");
  upload.bytes = bytes.get_int64();
  upload.mime_type = required_text(body, "mime_type", kMostMimeType);
  upload.file_expires_seconds = read_expiry(body);
  return upload;
}

CompletionRequest parse_completion_request(std::string_view text) {
  const json::object body = parse_body(text);
  const json::value& ids = required(body, "part_ids");
  const std::size_t most = storage::kMostUploadParts;
  if (!ids.is_array() || ids.get_array().empty() || ids.get_array().size() > most)
    refuse("part_ids", "must be an array of 1 to " + std::to_string(most) + " part ids, in the order of the bytes");
  CompletionRequest request;
  std::set<std::string> seen;
  for (const json::value& one : ids.get_array()) {
    const std::string id = one.is_string() ? std::string(one.get_string()) : "";
    if (!base::is_id(id, "part")) refuse("part_ids", "must hold ids such as part-abc123, as the parts' answers gave them");
    if (!seen.insert(id).second) refuse("part_ids", "must name each part once; '" + id + "' is there twice");
    request.part_ids.push_back(id);
  }
  request.md5 = read_md5(body);
  return request;
}

const std::string& checked_upload_id(const std::string& id) {
  if (!base::is_id(id, "upload"))
    throw base::ApiError(404, "invalid_request_error", "upload_not_found", "No such Upload object: " + id, "upload_id");
  return id;
}

}  // namespace finetuned::gateway
