#include "services/gateway/body_reader.h"

#include <algorithm>
#include <cstring>

#include "base/errors.h"
#include "base/expects.h"

namespace finetuned::gateway {

namespace {

constexpr std::size_t kMostSizeDigits = 15;
constexpr std::size_t kMostSizeLine = 256;
constexpr std::size_t kMostExtensionBytes = 8192;
constexpr std::size_t kMostTrailerBytes = 8192;

[[noreturn]] void refuse(const std::string& why) {
  throw base::bad_request("invalid_chunk", "The chunked body is not valid HTTP/1.1: " + why + ".");
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool is_refused_trailer(std::string_view name) {
  static constexpr std::string_view names[] = {
      "authorization", "cache-control", "connection", "cookie", "expect", "forwarded", "host", "idempotency-key",
      "keep-alive", "max-forwards", "origin", "pragma", "range", "te", "trailer", "transfer-encoding", "upgrade"};
  static constexpr std::string_view beginnings[] = {"content-", "if-", "openai-", "proxy-", "x-forwarded-"};
  // A reader that makes variables of header names takes one with `_` for the one with `-`.
  std::string dashed(name);
  std::replace(dashed.begin(), dashed.end(), '_', '-');
  return std::find(std::begin(names), std::end(names), dashed) != std::end(names) ||
         std::any_of(std::begin(beginnings), std::end(beginnings),
                     [&](std::string_view beginning) { return dashed.starts_with(beginning); });
}

BodyReader::BodyReader(const Head& head) {
  if (!head.has_body()) return;
  state_ = head.chunked ? State::kSize : State::kCounted;
  left_ = head.content_length.value_or(0);
}

std::uint64_t BodyReader::plain_bytes() const {
  return state_ == State::kCounted || state_ == State::kData ? left_ : 0;
}

void BodyReader::took(std::uint64_t bytes) {
  base::expects(bytes <= plain_bytes(), "what was taken of a body is its own");
  left_ -= bytes;
  if (left_ == 0 && bytes > 0) state_ = state_ == State::kData ? State::kDataEnd : State::kDone;
}

BodyReader::Progress BodyReader::read(std::string_view in, char* out, std::size_t room) {
  Progress progress;
  while (!done() && progress.used < in.size()) {
    if (state_ == State::kCounted || state_ == State::kData) {
      const auto arrived = in.size() - progress.used;
      const auto bytes = std::min({arrived, room - progress.written, static_cast<std::size_t>(left_)});
      if (bytes == 0) break;  // no room
      std::memcpy(out + progress.written, in.data() + progress.used, bytes);
      progress.used += bytes;
      progress.written += bytes;
      took(bytes);
    } else if (gather_line(in, progress.used)) {
      take_line(std::string_view(line_).substr(0, line_.size() - 2));
      line_.clear();
    }
  }
  return progress;
}

bool BodyReader::gather_line(std::string_view in, std::size_t& used) {
  const std::size_t most = state_ == State::kDataEnd ? 2 : state_ == State::kSize ? kMostSizeLine : kMostTrailerBytes;
  const auto had = line_.size();
  const auto rest = in.substr(used, most - had);
  const auto taken = std::min(rest.find('\n'), rest.size() - 1) + 1;
  line_.append(rest.substr(0, taken));
  used += taken;
  // A CR at the end of what had arrived is looked at once more, with what follows it.
  if (has_bare_line_end(std::string_view(line_).substr(had - std::min<std::size_t>(had, 1))))
    refuse("lines must end in CRLF");
  if (line_.back() == '\n') return true;
  if (line_.size() == most)
    refuse(state_ == State::kDataEnd ? "a chunk is not followed by CRLF" : "a line is too long");
  return false;
}

void BodyReader::take_line(std::string_view line) {
  switch (state_) {
    case State::kSize: return take_size(line);
    case State::kTrailer: return take_trailer(line);
    default: state_ = State::kSize;  // of kDataEnd, which has room for CRLF alone
  }
}

void BodyReader::take_size(std::string_view line) {
  std::size_t digits = 0;
  left_ = 0;
  for (; digits < line.size() && hex_digit(line[digits]) >= 0; ++digits) {
    if (digits == kMostSizeDigits) refuse("a chunk-size has more than 15 digits");
    left_ = left_ * 16 + static_cast<std::uint64_t>(hex_digit(line[digits]));
  }
  const auto extension = line.substr(digits);
  if (digits == 0 || (!extension.empty() && extension.front() != ';'))
    refuse("a chunk-size is not a hexadecimal number");
  if (!std::all_of(extension.begin(), extension.end(), [](char c) { return c == '\t' || (c >= 0x20 && c < 0x7f); }))
    refuse("a chunk extension holds a byte that is not visible ASCII");
  extension_bytes_ += extension.size();
  if (extension_bytes_ > kMostExtensionBytes) refuse("there are too many chunk extensions");
  state_ = left_ > 0 ? State::kData : State::kTrailer;
}

void BodyReader::take_trailer(std::string_view line) {
  if (line.empty()) {
    state_ = State::kDone;
    return;
  }
  trailer_bytes_ += line.size() + 2;
  if (trailer_bytes_ > kMostTrailerBytes) refuse("its trailer is too long");
  const std::string fault = parse_field_line(line, trailer_);
  if (!fault.empty()) refuse("in its trailer, " + fault);
  const std::string& name = trailer_.back().first;
  if (is_refused_trailer(name)) refuse("a field such as '" + name + "' may not stand in its trailer");
}

}  // namespace finetuned::gateway
