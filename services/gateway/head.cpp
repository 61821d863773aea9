#include "services/gateway/head.h"

#include <algorithm>

namespace finetuned::gateway {

namespace {

constexpr std::size_t kMaxFields = 100;
constexpr std::size_t kMaxLengthDigits = 15;

bool is_token_char(char c) {
  if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
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

std::string parse_request_line(std::string_view line, Head& head) {
  const auto first = line.find(' ');
  const auto last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) return "the request line is not METHOD TARGET VERSION";
  const auto target = line.substr(first + 1, last - first - 1);
  head.method = line.substr(0, first);
  if (!is_token(head.method)) return "the method is not a token";
  const bool visible = std::all_of(target.begin(), target.end(), [](char c) { return c > 0x20 && c < 0x7f; });
  if (target.empty() || target.front() != '/' || !visible) return "the request target is not a path in origin-form";
  head.target = target;
  const auto version = line.substr(last + 1);
  if (version != "HTTP/1.1" && version != "HTTP/1.0") return "the version is not HTTP/1.1";
  head.minor_version = version.back() - '0';
  return {};
}

std::string parse_field(std::string_view line, Head& head) {
  if (line.front() == ' ' || line.front() == '\t') return "folded header lines are not accepted";
  const auto colon = line.find(':');
  if (colon == std::string_view::npos || !is_token(line.substr(0, colon))) return "a header line has no valid name";
  if (head.headers.size() == kMaxFields) return "there are too many header fields";
  head.headers.emplace_back(lower(line.substr(0, colon)), trim(line.substr(colon + 1)));
  return {};
}

std::string read_length(const std::string& value, Head& head) {
  const bool digits = std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (head.content_length) return "Content-Length is repeated";
  if (value.empty() || value.size() > kMaxLengthDigits || !digits) return "Content-Length is not a number";
  head.content_length = std::stoull(value);
  return {};
}

std::string read_framing(Head& head) {
  std::size_t hosts = 0;
  head.keep_alive = head.minor_version == 1;
  for (const auto& [name, value] : head.headers) {
    std::string fault;
    if (name == "host") {
      if (++hosts > 1) fault = "Host is repeated";
    } else if (name == "content-length") {
      fault = read_length(value, head);
    } else if (name == "transfer-encoding") {
      if (head.chunked || value != "chunked" || head.minor_version == 0)
        fault = "Transfer-Encoding is accepted only as exactly `chunked`, once, on HTTP/1.1";
      head.chunked = true;
    } else if (name == "connection") {
      const auto option = lower(value);
      if (option == "close") head.keep_alive = false;
      if (option == "keep-alive" && head.minor_version == 0) head.keep_alive = true;
    } else if (name == "expect") {
      if (lower(value) != "100-continue") fault = "the only expectation understood is 100-continue";
      head.expects_continue = true;
    }
    if (!fault.empty()) return fault;
  }
  if (hosts == 0) return "Host is missing";
  if (head.chunked && head.content_length) return "Content-Length and Transfer-Encoding exclude each other";
  return {};
}

}  // namespace

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
    else if (has_control(line))
      fault.message = "the head holds a control character";
    else
      fault.message = first ? parse_request_line(line, head) : parse_field(line, head);
    first = false;
  }
  if (fault.message.empty()) fault.message = read_framing(head);
  if (!fault.message.empty()) return std::nullopt;
  return head;
}

}  // namespace finetuned::gateway
