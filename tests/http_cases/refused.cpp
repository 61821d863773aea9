#include "tests/http_cases/refused.h"

#include <string_view>

namespace finetuned::tests {

namespace {

using std::string_view_literals::operator""sv;

/// A head of these lines, each given its CRLF, and the empty line.
std::string head(std::initializer_list<std::string_view> lines) {
  std::string text;
  for (const auto line : lines) text.append(line).append("\r\n");
  return text + "\r\n";
}

/// A request without a body, of the ordinary lines and one more.
std::string with(std::string_view line) { return head({"GET /healthz HTTP/1.1", "Host: a", line}); }

/// One with a body that is both five bytes long and whole as chunks, and these lines to say which.
std::string post(std::initializer_list<std::string_view> lines) {
  std::string text = "POST /healthz HTTP/1.1\r\nHost: a\r\n";
  for (const auto line : lines) text.append(line).append("\r\n");
  return text + "\r\n0\r\n\r\n";
}

std::string line_of(std::string_view line) { return head({line, "Host: a"}); }

std::string many_fields(std::size_t count) {
  std::string text = "GET /healthz HTTP/1.1\r\nHost: a\r\n";
  for (std::size_t i = 0; i < count; ++i) text += "X: 1\r\n";
  return text + "\r\n";
}

std::vector<RefusedBytes> make_request_lines() {
  return {
      {"blank before the request line", line_of(" GET /healthz HTTP/1.1")},
      {"empty line before the request line", "\r\n" + line_of("GET /healthz HTTP/1.1")},
      {"two blanks after the method", line_of("GET  /healthz HTTP/1.1")},
      {"two blanks before the version", line_of("GET /healthz  HTTP/1.1")},
      {"tab after the method", line_of("GET\t/healthz HTTP/1.1")},
      {"blank after the version", line_of("GET /healthz HTTP/1.1 ")},
      {"blank in the target", line_of("GET /healthz /v1/files HTTP/1.1")},
      {"method alone", line_of("GET")},
      {"HTTP 0 9", "GET /healthz\r\n\r\n"},
      {"HTTP 0 9 with a version", line_of("GET /healthz HTTP/0.9")},
      {"HTTP 1 2", line_of("GET /healthz HTTP/1.2")},
      {"HTTP 1 10", line_of("GET /healthz HTTP/1.10")},
      {"HTTP 2 0", line_of("GET /healthz HTTP/2.0")},
      {"version in lower case", line_of("GET /healthz http/1.1")},
      {"version without a slash", line_of("GET /healthz HTTP 1.1")},
      {"another protocol", line_of("GET /healthz ICAP/1.1")},
      {"HTTP 2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
      {"method in lower case", line_of("get /healthz HTTP/1.1")},
      {"method in mixed case", line_of("Get /healthz HTTP/1.1")},
      {"method with a separator", line_of("G(T /healthz HTTP/1.1")},
      {"method with a control character", line_of("GE\x01T /healthz HTTP/1.1")},
      {"no method", line_of(" /healthz HTTP/1.1")},
      {"no target", line_of("GET  HTTP/1.1")},
      {"absolute form of another host", line_of("GET http://b/healthz HTTP/1.1")},
      {"absolute form of the same host", line_of("GET http://a/healthz HTTP/1.1")},
      {"authority form", line_of("CONNECT b:443 HTTP/1.1")},
      {"asterisk form", line_of("OPTIONS * HTTP/1.1")},
      {"target without a slash", line_of("GET healthz HTTP/1.1")},
      {"fragment in the target", line_of("GET /healthz#part HTTP/1.1")},
      {"backslash in the target", line_of("GET /healthz\\..\\v1 HTTP/1.1")},
      {"quote in the target", line_of("GET /healthz?\" HTTP/1.1")},
      {"NUL in the target", line_of("GET /heal\0thz HTTP/1.1"sv)},
      {"control character in the target", line_of("GET /heal\x07thz HTTP/1.1")},
      {"tab in the target", line_of("GET /heal\tthz HTTP/1.1")},
      {"DEL in the target", line_of("GET /heal\x7fthz HTTP/1.1")},
      {"UTF 8 in the target", line_of("GET /h\xC3\xA9 HTTP/1.1")},
      {"byte A0 in the target", line_of("GET /healthz\xA0 HTTP/1.1")},
      {"target too long", line_of("GET /" + std::string(9000, 'a') + " HTTP/1.1"), 431},
      {"bare LF after the request line", "GET /healthz HTTP/1.1\nHost: a\r\n\r\n"},
      {"bare CR after the request line", "GET /healthz HTTP/1.1\rHost: a\r\n\r\n"},
      {"CR in the request line", line_of("GET /healthz\r HTTP/1.1")},
      {"TLS hello", "\x16\x03\x01\x02\r\n\r\n"},
  };
}

std::vector<RefusedBytes> make_fields() {
  return {
      {"Host missing", head({"GET /healthz HTTP/1.1"})},
      {"Host missing on HTTP 1 0", head({"GET /healthz HTTP/1.0"})},
      {"Host empty", head({"GET /healthz HTTP/1.1", "Host:"})},
      {"Host blank", head({"GET /healthz HTTP/1.1", "Host: \t "})},
      {"Host repeated", with("Host: a")},
      {"Range repeated", with("Range: bytes=0-0\r\nRange: bytes=1-1")},
      {"Idempotency-Key repeated", with("Idempotency-Key: a\r\nIdempotency-Key: b")},
      {"two Hosts", with("Host: b")},
      {"two Hosts, one in capitals", with("HOST: b")},
      {"Host as a list", head({"GET /healthz HTTP/1.1", "Host: a, b"})},
      {"Host with user information", head({"GET /healthz HTTP/1.1", "Host: a@b"})},
      {"Host with a path", head({"GET /healthz HTTP/1.1", "Host: a/b"})},
      {"Host with a blank", head({"GET /healthz HTTP/1.1", "Host: a b"})},
      {"Host with NUL", head({"GET /healthz HTTP/1.1", "Host: a\0b"sv})},
      {"folded field", with("X: 1\r\n 2")},
      {"folded by a tab", with("X: 1\r\n\t2")},
      {"folded Host", head({"GET /healthz HTTP/1.1", "Host:", " a"})},
      {"fold before the first field", head({"GET /healthz HTTP/1.1", " Host: b", "Host: a"})},
      {"bare LF between fields", "GET /healthz HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n"},
      {"bare LF at the end", "GET /healthz HTTP/1.1\r\nHost: a\r\n\n"},
      {"bare LF twice", "GET /healthz HTTP/1.1\nHost: a\n\n"},
      {"bare CR between fields", "GET /healthz HTTP/1.1\r\nHost: a\rX: 1\r\n\r\n"},
      {"CR CR LF", "GET /healthz HTTP/1.1\r\nHost: a\r\r\n\r\n"},
      {"NUL in a name", with("X\0Y: 1"sv)},
      {"NUL in a value", with("X: 1\0 2"sv)},
      {"control character in a value", with("X: \x08")},
      {"vertical tab in a value", with("X: \x0b")},
      {"DEL in a value", with("X: \x7f")},
      {"blank before the colon", with("X : 1")},
      {"tab before the colon", with("X\t: 1")},
      {"blank in a name", with("X Y: 1")},
      {"empty name", with(": 1")},
      {"no colon", with("X")},
      {"separator in a name", with("X(Y): 1")},
      {"name not of ASCII", with("X\xC3\xA9: 1")},
      {"name with byte A0", with("X\xA0: 1")},
      {"two Authorizations", with("Authorization: Bearer a\r\nAuthorization: Bearer b")},
      {"two Content Types", with("Content-Type: a/b\r\nContent-Type: a/c")},
      {"field too long", with("X: " + std::string(9000, 'a')), 431},
      {"too many fields", many_fields(101)},
      {"too many bytes of fields", many_fields(2000), 431},
      {"unknown expectation", post({"Content-Length: 5", "Expect: 200-ok"})},
  };
}

std::vector<RefusedBytes> make_framing() {
  return {
      {"Content Length and Transfer Encoding", post({"Content-Length: 5", "Transfer-Encoding: chunked"})},
      {"Transfer Encoding and Content Length", post({"Transfer-Encoding: chunked", "Content-Length: 5"})},
      {"both, Content Length 0", post({"Content-Length: 0", "Transfer-Encoding: chunked"})},
      {"chunked on HTTP 1 0", head({"POST /healthz HTTP/1.0", "Host: a", "Transfer-Encoding: chunked"}) + "0\r\n\r\n"},
      {"xchunked", post({"Transfer-Encoding: xchunked"})},
      {"chunked with byte A0", post({"Transfer-Encoding: chunked\xa0"})},
      {"byte A0 before chunked", post({"Transfer-Encoding: \xa0" "chunked"})},
      {"vertical tab before chunked", post({"Transfer-Encoding: \x0b" "chunked"})},
      {"NUL after chunked", post({"Transfer-Encoding: chunked\0"sv})},
      {"Chunked with a capital", post({"Transfer-Encoding: Chunked"})},
      {"chunked in quotes", post({"Transfer-Encoding: \"chunked\""})},
      {"chunked with a parameter", post({"Transfer-Encoding: chunked;q=1"})},
      {"chunked, chunked", post({"Transfer-Encoding: chunked, chunked"})},
      {"chunked repeated", post({"Transfer-Encoding: chunked", "Transfer-Encoding: chunked"})},
      {"chunked and identity", post({"Transfer-Encoding: chunked", "Transfer-Encoding: identity"})},
      {"chunked with a comma", post({"Transfer-Encoding: chunked,"})},
      {"comma and chunked", post({"Transfer-Encoding: , chunked"})},
      {"gzip, chunked", post({"Transfer-Encoding: gzip, chunked"})},
      {"chunked, gzip", post({"Transfer-Encoding: chunked, gzip"})},
      {"gzip", post({"Transfer-Encoding: gzip"})},
      {"identity", post({"Transfer-Encoding: identity"})},
      {"Transfer Encoding empty", post({"Transfer-Encoding:"})},
      {"Transfer Encoding folded", post({"Transfer-Encoding:", " chunked"})},
      {"Transfer Encoding with a blank before the colon", post({"Transfer-Encoding : chunked"})},
      {"Transfer Encoding with an underscore", post({"Content-Length: 5", "Transfer_Encoding: chunked"})},
      {"Content Length with an underscore", post({"Content_Length: 5"})},
      {"Content Length repeated", post({"Content-Length: 5", "Content-Length: 5"})},
      {"two Content Lengths", post({"Content-Length: 5", "Content-Length: 0"})},
      {"Content Length as a list", post({"Content-Length: 5, 5"})},
      {"Content Length with a comma", post({"Content-Length: 5,"})},
      {"Content Length with plus", post({"Content-Length: +5"})},
      {"Content Length with minus", post({"Content-Length: -5"})},
      {"Content Length minus nothing", post({"Content-Length: -0"})},
      {"Content Length with a blank inside", post({"Content-Length: 5 0"})},
      {"Content Length with byte A0", post({"Content-Length: 5\xa0"})},
      {"Content Length in hexadecimal", post({"Content-Length: 0x5"})},
      {"Content Length with a point", post({"Content-Length: 5.0"})},
      {"Content Length with an exponent", post({"Content-Length: 5e0"})},
      {"Content Length with an underscore inside", post({"Content-Length: 5_0"})},
      {"Content Length in quotes", post({"Content-Length: \"5\""})},
      {"Content Length in other digits", post({"Content-Length: \xD9\xA5"})},
      {"Content Length empty", post({"Content-Length:"})},
      {"Content Length blank", post({"Content-Length:  "})},
      {"Content Length of 2 to the 64 and 5", post({"Content-Length: 18446744073709551621"})},
      {"Content Length of 2 to the 63", post({"Content-Length: 9223372036854775808"})},
      {"Content Length of 16 digits", post({"Content-Length: 1000000000000000"})},
      {"Content Length with leading zeros to 16 digits", post({"Content-Length: 0000000000000005"})},
      {"Content Length folded", post({"Content-Length:", " 5"})},
      {"Content Length with a blank before the colon", post({"Content-Length : 5"})},
  };
}

std::vector<RefusedBytes> make_chunks() {
  std::vector<RefusedBytes> cases = {
      {"size with plus", "+2\r\n{}\r\n0\r\n\r\n"},
      {"size with minus", "-2\r\n{}\r\n0\r\n\r\n"},
      {"size with 0x", "0x2\r\n{}\r\n0\r\n\r\n"},
      {"size with X", "2x\r\n{}\r\n0\r\n\r\n"},
      {"blank before the size", " 2\r\n{}\r\n0\r\n\r\n"},
      {"blank after the size", "2 \r\n{}\r\n0\r\n\r\n"},
      {"tab after the size", "2\t\r\n{}\r\n0\r\n\r\n"},
      {"blank before an extension", "2 ;a\r\n{}\r\n0\r\n\r\n"},
      {"blank in the size", "0 2\r\n{}\r\n0\r\n\r\n"},
      {"underscore in the size", "0_2\r\n{}\r\n0\r\n\r\n"},
      {"size with a comma", "2,2\r\n{}\r\n0\r\n\r\n"},
      {"size empty", "\r\n{}\r\n0\r\n\r\n"},
      {"size not a number", "zz\r\n{}\r\n0\r\n\r\n"},
      {"NUL after the size", std::string("2\0\r\n{}\r\n0\r\n\r\n"sv)},
      {"byte A0 after the size", "2\xa0\r\n{}\r\n0\r\n\r\n"},
      {"size of 2 to the 64 and 2", "10000000000000002\r\n{}\r\n0\r\n\r\n"},
      {"size of 16 digits", "0000000000000002\r\n{}\r\n0\r\n\r\n"},
      {"last size of 16 digits", "0000000000000000\r\n\r\n"},
      {"extension too long", "2;a=" + std::string(300, 'b') + "\r\n{}\r\n0\r\n\r\n"},
      {"LF in an extension", "2;a=\"\n\"\r\n{}\r\n0\r\n\r\n"},
      {"CR in an extension", "2;a=\"\r\"\r\n{}\r\n0\r\n\r\n"},
      {"NUL in an extension", std::string("2;a\0\r\n{}\r\n0\r\n\r\n"sv)},
      {"byte beyond ASCII in an extension", "2;\xC3\xA9\r\n{}\r\n0\r\n\r\n"},
      {"bare LF after the size", "2\n{}\r\n0\r\n\r\n"},
      {"bare CR after the size", "2\r{}\r\n0\r\n\r\n"},
      {"bare LF after the data", "2\r\n{}\n0\r\n\r\n"},
      {"nothing after the data", "2\r\n{}0\r\n\r\n"},
      {"more data than the size", "1\r\n{}\r\n0\r\n\r\n"},
      {"less data than the size", "3\r\n{}\r\n0\r\n\r\n"},
      {"bare LF after the last size", "2\r\n{}\r\n0\n\r\n"},
      {"bare LF at the end", "2\r\n{}\r\n0\r\n\n"},
      {"bare LF in the trailer", "2\r\n{}\r\n0\r\nX: 1\n\r\n"},
      {"fold in the trailer", "2\r\n{}\r\n0\r\nX: 1\r\n Authorization: Bearer b\r\n\r\n"},
      {"fold at the trailer's beginning", "2\r\n{}\r\n0\r\n X: 1\r\n\r\n"},
      {"blank before a colon in the trailer", "2\r\n{}\r\n0\r\nX : 1\r\n\r\n"},
      {"no name in the trailer", "2\r\n{}\r\n0\r\n: 1\r\n\r\n"},
      {"NUL in the trailer", std::string("2\r\n{}\r\n0\r\nX: \0\r\n\r\n"sv)},
      {"a request in the trailer", "2\r\n{}\r\n0\r\nGET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n"},
      {"trailer too long", "2\r\n{}\r\n0\r\nX: " + std::string(9000, 'a') + "\r\n\r\n"},
  };
  std::string many = "2\r\n{}\r\n0\r\n", extended;
  for (int i = 0; i < 101; ++i) many += "X: 1\r\n";
  for (int i = 0; i < 40; ++i) extended += "1;" + std::string(250, 'a') + "\r\n \r\n";
  cases.push_back({"too many fields in the trailer", many + "\r\n"});
  cases.push_back({"too many extensions", extended + "0\r\n\r\n"});
  for (const std::string name :
       {"Authorization", "authorization", "Content-Length", "Content_Length", "Content-Type", "Content-Encoding",
        "Transfer-Encoding", "Host", "Trailer", "TE", "Connection", "Expect", "Cookie", "Upgrade", "Range", "If-Match",
        "Idempotency-Key", "OpenAI-Project", "X-Forwarded-For", "Proxy-Authorization"})
    cases.push_back({name + " in the trailer", "2\r\n{}\r\n0\r\n" + name + ": 1\r\n\r\n"});
  return cases;
}

}  // namespace

const std::vector<RefusedBytes>& refused_heads() {
  static const std::vector<RefusedBytes> all = [] {
    auto cases = make_request_lines();
    for (auto& more : {make_fields(), make_framing()}) cases.insert(cases.end(), more.begin(), more.end());
    return cases;
  }();
  return all;
}

const std::vector<RefusedBytes>& refused_chunks() {
  static const std::vector<RefusedBytes> all = make_chunks();
  return all;
}

}  // namespace finetuned::tests
