#include "services/gateway/multipart.h"

#include <algorithm>

#include "base/errors.h"

namespace finetuned::gateway {

namespace {

constexpr std::size_t kMostParts = 32;
constexpr std::size_t kMostHeadBytes = 8192;

[[noreturn]] void refuse(const std::string& why) {
  throw base::bad_request("invalid_multipart", "The multipart body is not valid: " + why + ".");
}

}  // namespace

MultipartReader::MultipartReader(std::string_view boundary, PartSink& sink)
    : delimiter_("\r\n--" + std::string(boundary)), sink_(sink), buffer_("\r\n") {}

void MultipartReader::feed(std::string_view bytes) {
  buffer_.append(bytes);
  while (step()) {
  }
  buffer_.erase(0, used_);
  used_ = 0;
}

void MultipartReader::finish() const {
  if (state_ != State::kEpilogue) refuse("it ends before its closing delimiter");
  if (!buffer_.empty() && buffer_ != "\r\n") refuse("something follows the closing delimiter");
}

/// One step of the reading; false when more bytes are needed.
bool MultipartReader::step() {
  switch (state_) {
    case State::kData: return read_data();
    case State::kAfterDelimiter: return read_after_delimiter();
    case State::kHead: return read_head();
    case State::kEpilogue: break;
  }
  if (buffer_.size() - used_ > 2) refuse("something follows the closing delimiter");
  return false;
}

bool MultipartReader::read_data() {
  const std::string_view rest = std::string_view(buffer_).substr(used_);
  const auto found = rest.find(delimiter_);
  // Without a delimiter, the last bytes may be the beginning of one.
  const auto known = found != std::string_view::npos ? found
                     : rest.size() >= delimiter_.size() ? rest.size() - delimiter_.size() + 1
                                                        : 0;
  if (known > 0) {
    if (!in_part_) refuse("it does not begin with its boundary");
    sink_.on_data(rest.substr(0, known));
    used_ += known;
  }
  if (found == std::string_view::npos) return false;
  if (in_part_) sink_.on_part_end();
  in_part_ = false;
  used_ += delimiter_.size();
  state_ = State::kAfterDelimiter;
  return true;
}

bool MultipartReader::read_after_delimiter() {
  const std::string_view rest = std::string_view(buffer_).substr(used_);
  if (rest.size() < 2) return false;
  if (rest.starts_with("--"))
    state_ = State::kEpilogue;
  else if (rest.starts_with("\r\n"))
    state_ = State::kHead;
  else
    refuse("a boundary line has something after it");
  used_ += 2;
  return true;
}

bool MultipartReader::read_head() {
  const std::string_view rest = std::string_view(buffer_).substr(used_);
  const auto end = rest.find("\r\n\r\n");
  // Of a head whose end has not come, the last three bytes may belong to the end.
  const auto known = end != std::string_view::npos ? end : rest.size() - std::min<std::size_t>(rest.size(), 3);
  if (known > kMostHeadBytes) refuse("a part's head is larger than 8 KB");
  if (end == std::string_view::npos) return false;
  if (++parts_ > kMostParts) refuse("it has more than 32 parts");
  sink_.on_part(parse_part_head(rest.substr(0, end)));
  in_part_ = true;
  used_ += end + 4;
  state_ = State::kData;
  return true;
}

}  // namespace finetuned::gateway
