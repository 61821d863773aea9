#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace finetuned::base {

/// Why a text is no acceptable https URL; reads well behind "url ".
struct UrlError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// An absolute https URL, in parts. Nothing in it is open to two readings.
struct HttpsUrl {
  static constexpr std::size_t kMostBytes = 2048;

  std::string host;  ///< lower case: a DNS name, an IPv4 address of four decimal parts, or an IPv6 address (no brackets)
  std::uint16_t port = 443;
  std::string target;  ///< path and query: begins with `/`
  bool is_ipv6 = false;

  std::string authority() const;  ///< `HOST:PORT`, an IPv6 host in brackets
  std::string text() const { return "https://" + authority() + target; }
};

/// Reads strictly: https only; no credentials, no fragment, no blanks, backslashes or other than visible ASCII; a port of
/// 1 to 65535; a DNS name of letters, digits and hyphens whose last label does not look like a number (0x7f.1, 2130706433).
/// Throws UrlError.
HttpsUrl parse_https_url(std::string_view text);

}  // namespace finetuned::base
