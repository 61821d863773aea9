#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "services/gateway/http.h"

namespace finetuned::gateway {

/// The head of a request, checked by the strict framing rules below.
struct Head {
  std::string method;
  std::string target;  ///< raw
  int minor_version = 1;
  StringPairs headers;  ///< names in lower case
  std::optional<std::uint64_t> content_length;
  bool chunked = false;
  bool keep_alive = true;
  bool expects_continue = false;

  bool has_body() const { return chunked || content_length.value_or(0) > 0; }
};

/// Why a head was refused: sent as the message of a 400, after which the connection closes.
struct HeadFault {
  int status = 400;
  std::string message;
};

/// Parses a head, from the request line up to and with the empty line. Stricter than RFC 9112, since what two parsers
/// read differently is how requests are smuggled: lines end in CRLF and hold no other control character; one space
/// between method (capital letters), target and `HTTP/1.0|1.1`; the target in origin-form and of the characters of RFC 3986; no
/// folded lines, no blank before a colon; exactly one Host, which names one; at most one Content-Length, of 1 to 15
/// digits; Transfer-Encoding absent, or once and exactly `chunked`, on HTTP/1.1 and never with Content-Length; Expect
/// absent or `100-continue`; Authorization and Content-Type at most once; none of these names written with `_` for `-`.
/// Sets `fault` and returns nullopt where a rule is broken.
std::optional<Head> parse_head(std::string_view text, HeadFault& fault);

/// Reads one line, without its CRLF, into `fields`, at most 100 of them. Returns why it is refused, else nothing.
std::string parse_field_line(std::string_view line, StringPairs& fields);

/// Whether `text`, the beginning of a head, already breaks the rule on line ends: no need to wait for the rest.
bool has_bare_line_end(std::string_view text);

}  // namespace finetuned::gateway
