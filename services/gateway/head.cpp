#include "services/gateway/head.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace finetuned::gateway {

namespace {

constexpr std::size_t kMaxFields = 100;
constexpr std::size_t kMaxLengthDigits = 15;
/// Fields of which two would let two readers see two requests. Host is the first.
constexpr std::string_view kOnce[] = {"host",         "content-length", "transfer-encoding", "authorization",
                                      "content-type", "idempotency-key", "range",            "if-range"};
using FieldCounts = std::array<std::size_t, std::size(kOnce)>;

bool is_letter_or_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool is_token_char(char c) {
  return is_letter_or_digit(c) || std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_token(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_token_char); }

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

bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
  });
}

/// RFC 3986: unreserved, reserved, and the `%` of escapes; not `#`, which begins a fragment.
bool is_target_char(char c) {
  return is_letter_or_digit(c) || std::string_view("-._~:/?[]@!$&'()*+,;=%").find(c) != std::string_view::npos;
}

/// Of a name or an address, and a port: not of user information, a path or a list.
bool is_host_char(char c) {
  return is_letter_or_digit(c) || std::string_view("-._~:[]%").find(c) != std::string_view::npos;
}

std::string parse_request_line(std::string_view line, Head& head) {
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return "the request line is not METHOD TARGET VERSION";
  const auto target = line.substr(first + 1, last - first - 1);
  head.method = line.substr(0, first);
  const auto is_capital = [](char c) { return c >= 'A' && c <= 'Z'; };
  if (!std::all_of(head.method.begin(), head.method.end(), is_capital) || head.method.empty())
    return "the method is not of capital letters";
  if (!target.starts_with('/') || !std::all_of(target.begin(), target.end(), is_target_char))
    return "the request target is not a path in origin-form";
  head.target = target;
  const auto version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return "the version is not HTTP/1.1";
  head.minor_version = version.back() - '0';
  return {};
}

std::string read_length(const std::string& value, Head& head) {
  const bool digits = std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (value.empty() || value.size() > kMaxLengthDigits || !digits) return "Content-Length is not a number";
  head.content_length = std::stoull(value);
  return {};
}

/// A list of options, which may be in several fields.
void read_connection(std::string_view options, Head& head) {
  while (!options.empty()) {
    const auto comma = options.find(',');
    const std::string option = lower(trim(options.substr(0, comma)));
    options = comma == std::string_view::npos ? std::string_view() : options.substr(comma + 1);
    if (option == "close") head.keep_alive = false;
    if (option == "keep-alive" && head.minor_version == 0) head.keep_alive = true;
  }
}

/// What one field says of the framing. `seen` counts those that may stand once.
std::string read_field(const std::string& name, const std::string& value, Head& head, FieldCounts& seen) {
  std::string dashed = name;
  std::replace(dashed.begin(), dashed.end(), '_', '-');
  const auto once = std::find(std::begin(kOnce), std::end(kOnce), dashed);
  if (once != std::end(kOnce)) {
    if (dashed != name) return "the header name `" + name + "` is written with `_` for `-`";
    if (++seen[static_cast<std::size_t>(once - kOnce)] > 1) return "the header field `" + name + "` may stand once and is repeated";
  }
  if (name == "host") {
    if (value.empty() || !std::all_of(value.begin(), value.end(), is_host_char)) return "Host does not name a host";
  } else if (name == "content-length") {
    return read_length(value, head);
  } else if (name == "transfer-encoding") {
    if (value != "chunked" || head.minor_version == 0)
      return "Transfer-Encoding is accepted only as exactly `chunked`, once, on HTTP/1.1";
    head.chunked = true;
  } else if (name == "connection") {
    read_connection(value, head);
  } else if (name == "expect") {
    if (lower(value) != "100-continue") return "the only expectation understood is 100-continue";
    head.expects_continue = head.minor_version > 0;  // an older client takes the 100 for its answer
  }
  return {};
}

std::string read_framing(Head& head) {
  FieldCounts seen{};
  head.keep_alive = head.minor_version == 1;
  for (const auto& [name, value] : head.headers) {
    std::string fault = read_field(name, value, head, seen);
    if (!fault.empty()) return fault;
  }
  if (seen[0] == 0) return "Host is missing";
  if (head.chunked && head.content_length) return "Content-Length and Transfer-Encoding exclude each other";
  return {};
}

}  // namespace

std::string parse_field_line(std::string_view line, StringPairs& fields) {
  if (has_control(line)) return "a line holds a control character";
  if (line.starts_with(' ') || line.starts_with('\t')) return "folded header lines are not accepted";
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return "a header line has no valid name";
  if (fields.size() == kMaxFields) return "there are more than " + std::to_string(kMaxFields) + " header fields";
  fields.emplace_back(lower(line.substr(0, colon)), trim(line.substr(colon + 1)));
  return {};
}

bool has_bare_line_end(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n' && (i == 0 || text[i - 1] != '\r')) return true;
    if (text[i] == '\r' && i + 1 < text.size() && text[i + 1] != '\n') return true;
  }
  return false;
}

std::optional<Head> parse_head(std::string_view text, HeadFault& fault) {
  Head head;
  fault = {};
  if (has_bare_line_end(text) || !text.ends_with("\r\n\r\n")) {
    fault.message = "header lines must end in CRLF";
    return std::nullopt;
  }
  text.remove_suffix(2);
  bool first = true;
  while (!text.empty() && fault.message.empty()) {
    const auto end = text.find("\r\n");
    const auto line = text.substr(0, end);
    text.remove_prefix(end + 2);
    if (line.empty())
      fault.message = "there is an empty line before the end of the head";
    else
      fault.message = first ? parse_request_line(line, head) : parse_field_line(line, head.headers);
    first = false;
  }
  if (fault.message.empty()) fault.message = read_framing(head);
  if (!fault.message.empty()) return std::nullopt;
  return head;
}

}  // namespace finetuned::gateway
