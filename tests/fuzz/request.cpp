// A request: its head, up to the empty line, and what follows as the body that it announces.
#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/errors.h"
#include "services/gateway/body_reader.h"
#include "services/gateway/head.h"
#include "services/gateway/uri.h"
#include "tests/fuzz/fuzz.h"
#include "tests/http_cases/refused.h"

namespace finetuned::fuzz {
namespace {

using gateway::Head;

std::optional<Head> parse(std::string_view text) {
  gateway::HeadFault fault;
  auto head = gateway::parse_head(text, fault);
  expect(head.has_value() == fault.message.empty(), "a head is refused with a message, and accepted without");
  return head;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

/// Values of the lines that another reader could take for this field, whatever blanks or case they are written with.
std::vector<std::string> values_of(std::string_view text, std::string_view name) {
  std::vector<std::string> values;
  std::string squeezed;
  for (const char c : lower(text))
    if (c != ' ' && c != '\t' && c != '\r') squeezed += c == '_' ? '-' : c;
  const std::string begin = "\n" + std::string(name) + ":";
  for (std::size_t at = 0; (at = squeezed.find(begin, at)) != std::string::npos; ++at) {
    const auto value = at + begin.size();
    values.push_back(squeezed.substr(value, squeezed.find('\n', value) - value));
  }
  return values;
}

void check_accepted(std::string_view text, const Head& head) {
  expect(values_of(text, "host").size() == 1, "an accepted head has one Host");
  const auto lengths = values_of(text, "content-length"), codings = values_of(text, "transfer-encoding");
  expect(lengths.size() + codings.size() <= 1, "an accepted head is framed once");
  expect(codings.empty() || (codings[0] == "chunked" && head.chunked && head.minor_version == 1),
         "a Transfer-Encoding is `chunked`, on HTTP/1.1");
  if (!lengths.empty()) {
    const std::string digits = std::to_string(*head.content_length);
    expect(lengths[0].ends_with(digits), "a Content-Length is the number that it writes");
    expect(lengths[0].find_first_not_of('0') >= lengths[0].size() - digits.size(), "and has zeros alone before it");
  }
  expect(std::none_of(text.begin(), text.end(), [](char c) { return c == '\0' || c == '\x0b' || c == '\x7f'; }),
         "an accepted head holds no control character");
  expect(!gateway::has_bare_line_end(text), "an accepted head's lines end in CRLF");
  std::string fault;
  if (const auto target = gateway::parse_target(head.target, fault))
    for (const auto& segment : target->segments)
      expect(segment != ".." && segment != "." && !segment.empty(), "a path has no empty or relative segment");
}

/// No line that would change the framing can be slipped into a head that is accepted.
void check_insertions(std::string_view text, const Head& head) {
  std::vector<std::string> lines = {
      "Host: b", "host:b", " folded", "\tfolded", "X : 1", ": 1", "X", "X: \x01", "X: 1\nY: 2",
      "Transfer-Encoding: xchunked", "Transfer-Encoding: chunked, chunked", "Transfer-Encoding: identity",
      "Transfer_Encoding: chunked", "Content-Length: +1", "Content-Length: 1, 1", "Content-Length: 0x1",
      "Content-Length:"};
  if (head.content_length || head.chunked) {
    lines.push_back("Content-Length: 0");
    lines.push_back("Transfer-Encoding: chunked");
  }
  const auto first = text.find("\r\n") + 2;
  for (const auto& line : lines)
    for (const std::size_t at : {first, text.size() - 2})
      expect(!parse(std::string(text.substr(0, at)) + line + "\r\n" + std::string(text.substr(at))),
             "a head with one more line that frames it is refused");
}

struct Body {
  bool refused = false;
  bool done = false;
  std::string data;
  std::size_t used = 0;
};

Body read(const Head& head, std::string_view wire, Cuts cuts, std::size_t room) {
  gateway::BodyReader reader(head);
  Body body;
  std::string out(room, '\0');
  try {
    while (!reader.done() && body.used < wire.size()) {
      const auto progress = reader.read(wire.substr(body.used, cuts.next()), out.data(), room);
      expect(progress.used > 0 && progress.written <= room, "a body reader goes forward");
      body.used += progress.used;
      body.data.append(out, 0, progress.written);
    }
  } catch (const base::ApiError& error) {
    expect(error.status == 400 && error.code == "invalid_chunk", "a broken body is a 400");
    expect(!reader.done(), "a broken body does not end");
    body.refused = true;
  }
  body.done = reader.done();
  return body;
}

void check_body(const Head& head, std::string_view wire) {
  const Body whole = read(head, wire, Cuts(0, wire.size() + 1), wire.size() + 1);
  for (const std::size_t most : {1u, 7u, 300u}) {
    const Body cut = read(head, wire, Cuts(wire.size(), most), most);
    expect(cut.refused == whole.refused && cut.done == whole.done, "a body's end does not depend on how it is cut");
    expect(whole.refused || (cut.data == whole.data && cut.used == whole.used),
           "a body's data does not depend on how it is cut");
  }
  if (head.content_length && whole.done)
    expect(whole.data.size() == *head.content_length, "a counted body is as long as it says");
}

}  // namespace
}  // namespace finetuned::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace finetuned;
  const auto text = fuzz::as_text(data, size);
  const auto end = text.find("\r\n\r\n");
  if (end == std::string_view::npos) {
    fuzz::expect(!fuzz::parse(text), "a head without its empty line is refused");
    return 0;
  }
  const auto head_text = text.substr(0, end + 4);
  const auto head = fuzz::parse(head_text);
  for (const auto& bad : tests::refused_heads())
    fuzz::expect(!head || bad.status == 431 || !text.starts_with(bad.bytes), "no head of the refused list is accepted");
  if (!head) return 0;
  fuzz::check_accepted(head_text, *head);
  fuzz::check_insertions(head_text, *head);
  fuzz::check_body(*head, text.substr(end + 4));
  return 0;
}
