#include <algorithm>
#include <utility>

#include "base/errors.h"
#include "services/gateway/file_request.h"
#include "services/gateway/multipart.h"
#include "services/gateway/uri.h"
#include "services/gateway/utf8.h"

namespace finetuned::gateway {

namespace {

constexpr std::size_t kMostNameBytes = 256;

[[noreturn]] void refuse(const std::string& why) {
  throw base::bad_request("invalid_multipart", "The multipart body is not valid: " + why + ".");
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// A header value such as `form-data; name="file"; filename="a.jsonl"`, taken apart.
struct Parameters {
  std::string kind;  ///< lower case
  StringPairs pairs;

  std::optional<std::string> find(std::string_view name) const {
    for (const auto& [key, value] : pairs)
      if (key == name) return value;
    return std::nullopt;
  }
};

/// Takes the (quoted or bare) value at the front of `rest`. Browsers and the official clients write `%22` or `\"` for
/// a quote in it.
std::string take_value(std::string_view& rest) {
  std::string value;
  if (!rest.starts_with('"')) {
    const auto end = std::min(rest.find(';'), rest.size());
    value = trim(rest.substr(0, end));
    rest.remove_prefix(end);
    return value;
  }
  std::size_t at = 1;
  for (; at < rest.size() && rest[at] != '"'; ++at) {
    if (rest[at] == '\\' && at + 1 < rest.size() && (rest[at + 1] == '"' || rest[at + 1] == '\\')) ++at;
    value.push_back(rest[at]);
  }
  if (at == rest.size()) refuse("a quoted value is not closed");
  rest = trim(rest.substr(at + 1));
  return value;
}

Parameters parse_parameters(std::string_view text) {
  Parameters parsed;
  const auto end = std::min(text.find(';'), text.size());
  parsed.kind = lower(trim(text.substr(0, end)));
  std::string_view rest = text.substr(end);
  while (!rest.empty()) {
    if (!rest.starts_with(';')) refuse("a header's parameters are not separated by ;");
    rest = trim(rest.substr(1));
    if (rest.empty()) break;
    const auto equals = rest.find('=');
    if (equals == std::string_view::npos) refuse("a header's parameter has no value");
    std::string name = lower(trim(rest.substr(0, equals)));
    rest = trim(rest.substr(equals + 1));
    if (parsed.find(name)) refuse("a header's parameter is repeated");
    std::string value = take_value(rest);
    parsed.pairs.emplace_back(std::move(name), std::move(value));
  }
  return parsed;
}

std::string checked_label(std::string_view filename) {
  std::string label = label_of(filename);
  if (label.size() > kMostNameBytes) refuse("a filename is longer than 256 bytes");
  if (!is_utf8(label)) refuse("a filename is not in UTF-8");
  return label;
}

void read_disposition(std::string_view value, PartHead& head) {
  const Parameters parameters = parse_parameters(value);
  if (parameters.kind != "form-data") refuse("a part's Content-Disposition is not form-data");
  head.name = parameters.find("name").value_or("");
  if (head.name.empty() || head.name.size() > kMostNameBytes) refuse("a part has no name, or one beyond 256 bytes");
  if (!is_utf8(head.name)) refuse("a part's name is not in UTF-8");
  if (const auto extended = parameters.find("filename*")) {
    if (!lower(*extended).starts_with("utf-8''")) refuse("a filename* is not in UTF-8");
    const auto decoded = percent_decode(std::string_view(*extended).substr(7), false);
    if (!decoded) refuse("a filename* has a broken escape");
    head.filename = checked_label(*decoded);
  } else if (const auto plain = parameters.find("filename")) {
    head.filename = checked_label(*plain);
  }
}

}  // namespace

PartHead parse_part_head(std::string_view lines) {
  PartHead head;
  bool disposed = false;
  while (!lines.empty()) {
    const auto end = lines.find("\r\n");
    const auto line = lines.substr(0, end);
    lines = end == std::string_view::npos ? std::string_view{} : lines.substr(end + 2);
    const auto colon = line.find(':');
    if (colon == std::string_view::npos || line.front() == ' ' || line.front() == '\t')
      refuse("a part's header line is not NAME: VALUE");
    const auto control = [](char c) { return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f; };
    if (std::any_of(line.begin(), line.end(), control)) refuse("a part's head holds a control character");
    const auto name = lower(line.substr(0, colon));
    const auto value = trim(line.substr(colon + 1));
    if (name == "content-disposition") {
      if (std::exchange(disposed, true)) refuse("a part has two Content-Dispositions");
      read_disposition(value, head);
    } else if (name == "content-type") {
      head.content_type = value;
    } else if (name == "content-transfer-encoding") {
      const auto encoding = lower(value);
      if (encoding != "binary" && encoding != "8bit" && encoding != "7bit")
        refuse("a part has a Content-Transfer-Encoding; send the bytes as they are");
    }
  }
  if (!disposed) refuse("a part has no Content-Disposition");
  return head;
}

std::string multipart_boundary(std::optional<std::string_view> content_type) {
  const auto fault = [](int status, const std::string& message) {
    return base::ApiError(status, "invalid_request_error", status == 415 ? "unsupported_media_type" : "invalid_multipart",
                          message);
  };
  if (!content_type || !lower(*content_type).starts_with("multipart/form-data"))
    throw fault(415, "Send this request's body as multipart/form-data.");
  const Parameters parameters = parse_parameters(*content_type);
  if (parameters.kind != "multipart/form-data")
    throw fault(415, "Send this request's body as multipart/form-data.");
  const auto boundary = parameters.find("boundary").value_or("");
  const auto allowed = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("'()+_,-./:=? ").find(c) != std::string_view::npos;
  };
  if (boundary.empty() || boundary.size() > 70 || boundary.back() == ' ' ||
      !std::all_of(boundary.begin(), boundary.end(), allowed))
    throw fault(400, "The Content-Type has no valid boundary (1 to 70 characters, RFC 2046).");
  return boundary;
}

}  // namespace finetuned::gateway
