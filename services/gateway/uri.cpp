#include "services/gateway/uri.h"

#include "services/gateway/utf8.h"

namespace finetuned::gateway {

namespace {

constexpr std::size_t kMaxQueryParameters = 64;
constexpr std::size_t kUsualSegments = 8;
constexpr const char* kUnreadable = "has an escape (%XX) that is broken, of a control character, or not of UTF-8";

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// The fault; empty where there is none.
std::string parse_query(std::string_view text, StringPairs& query) {
  while (!text.empty()) {
    const auto end = text.find('&');
    const auto pair = text.substr(0, end);
    text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    if (pair.empty()) continue;
    const auto equals = pair.find('=');
    auto key = percent_decode(pair.substr(0, equals), true);
    auto value = percent_decode(equals == std::string_view::npos ? std::string_view{} : pair.substr(equals + 1), true);
    if (!key || !value || !is_utf8(*key) || !is_utf8(*value)) return kUnreadable;
    if (query.size() == kMaxQueryParameters) return "has more than " + std::to_string(kMaxQueryParameters) + " parameters";
    query.emplace_back(std::move(*key), std::move(*value));
  }
  return {};
}

std::string parse_path(std::string_view path, std::vector<std::string>& segments) {
  if (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  while (!path.empty()) {
    const auto slash = path.find('/');
    auto segment = percent_decode(path.substr(0, slash), false);
    if (!segment || !is_utf8(*segment)) return kUnreadable;
    const bool ends_in_slash = slash != std::string_view::npos && slash + 1 == path.size();
    if (segment->empty() || ends_in_slash) return "has an empty path segment (//)";
    if (*segment == "." || *segment == "..") return "has the path segment `" + *segment + "`";
    segments.push_back(std::move(*segment));
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return {};
}

}  // namespace

std::optional<std::string> percent_decode(std::string_view text, bool plus_is_space) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = hex_digit(text[i + 1]), low = hex_digit(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    } else if (c == '+' && plus_is_space) {
      c = ' ';
    }
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) return std::nullopt;
    out.push_back(c);
  }
  return out;
}

std::optional<Target> parse_target(std::string_view target, std::string& fault) {
  Target parsed;
  parsed.segments.reserve(kUsualSegments);
  const auto question = target.find('?');
  if (!target.starts_with('/')) fault = "does not begin with /";
  else if (target.find('#') != std::string_view::npos) fault = "has a fragment (#)";
  else fault = parse_path(target.substr(1, question == std::string_view::npos ? question : question - 1), parsed.segments);
  if (fault.empty() && question != std::string_view::npos) fault = parse_query(target.substr(question + 1), parsed.query);
  if (!fault.empty()) return std::nullopt;
  return parsed;
}

}  // namespace finetuned::gateway
