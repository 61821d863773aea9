#include "base/https_url.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace finetuned::base {

namespace {

constexpr std::string_view kScheme = "https://";
constexpr std::size_t kMostName = 253, kMostLabel = 63;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_label_char(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || c == '-'; }

std::string lower(std::string_view text) {
  std::string result(text);
  for (char& c : result)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return result;
}

std::uint16_t read_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc() || end != text.data() + text.size() || text.size() > 5 || text.front() == '0' || port > 65535)
    throw UrlError("has a port that is not 1 to 65535");
  return static_cast<std::uint16_t>(port);
}

bool is_ipv4(const std::string& host) {
  in_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1;
}

void check_name(std::string_view host) {
  const UrlError fault("has a host that is neither a DNS name nor an IP address");
  if (host.empty() || host.size() > kMostName) throw fault;
  std::string_view rest = host, label;
  for (bool more = true; more;) {
    const auto dot = rest.find('.');
    more = dot != std::string_view::npos;
    label = rest.substr(0, dot);
    if (more) rest.remove_prefix(dot + 1);
    if (label.empty() || label.size() > kMostLabel || label.front() == '-' || label.back() == '-' ||
        !std::all_of(label.begin(), label.end(), is_label_char))
      throw fault;
  }
  // Resolvers read 0x7f.1 and 2130706433 as addresses.
  if (is_digit(label.front())) throw UrlError("has a host whose last part begins with a digit but is no IP address");
}

}  // namespace

std::string HttpsUrl::authority() const { return (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(port); }

HttpsUrl parse_https_url(std::string_view text) {
  if (text.size() > HttpsUrl::kMostBytes)
    throw UrlError("has more than " + std::to_string(HttpsUrl::kMostBytes) + " bytes");
  for (const char c : text)
    if (c <= 0x20 || c >= 0x7f || c == '\\' || c == '"' || c == '<' || c == '>')
      throw UrlError("has a character that must be percent-encoded");
  if (lower(text.substr(0, kScheme.size())) != kScheme) throw UrlError("must begin with https://");
  text.remove_prefix(kScheme.size());
  if (text.find('#') != std::string_view::npos) throw UrlError("must have no fragment (#...)");
  const auto end = text.find_first_of("/?");
  std::string_view authority = text.substr(0, end);
  HttpsUrl url;
  url.target = end == std::string_view::npos ? "/" : std::string(text.substr(end));
  if (url.target.front() == '?') url.target.insert(0, "/");
  if (authority.find('@') != std::string_view::npos) throw UrlError("must have no user name or password");

  std::string_view port;
  if (authority.starts_with('[')) {
    const auto bracket = authority.find(']');
    if (bracket == std::string_view::npos) throw UrlError("has a bracket without its pair");
    url.host = lower(authority.substr(1, bracket - 1));
    url.is_ipv6 = true;
    in6_addr address{};
    if (::inet_pton(AF_INET6, url.host.c_str(), &address) != 1) throw UrlError("has no IPv6 address between its brackets");
    port = authority.substr(bracket + 1);
  } else {
    const auto colon = authority.find(':');
    url.host = lower(authority.substr(0, colon));
    if (!is_ipv4(url.host)) check_name(url.host);
    if (colon != std::string_view::npos) port = authority.substr(colon);
  }
  if (!port.empty()) {
    if (port.front() != ':' || port.size() < 2) throw UrlError("has a port that is not 1 to 65535");
    url.port = read_port(port.substr(1));
  }
  return url;
}

}  // namespace finetuned::base
