#include "services/gateway/multipart.h"

#include <algorithm>

#include "base/errors.h"

namespace finetuned::gateway {

namespace {

constexpr std::size_t kMostParts = 32;
constexpr std::size_t kMostHeadBytes = 8192;
constexpr std::size_t kJoinedBytes = 256;  // more than any delimiter has

[[noreturn]] void refuse(const std::string& why) {
  throw base::bad_request("invalid_multipart", "The multipart body is not valid: " + why + ".");
}

}  // namespace

MultipartReader::MultipartReader(std::string_view boundary, PartSink& sink)
    : delimiter_("\r\n--" + std::string(boundary)), sink_(sink), held_("\r\n") {}

/// What is held is read with a little of what has come behind it, and the rest where it lies.
void MultipartReader::feed(std::string_view bytes) {
  while (!held_.empty() && !bytes.empty()) {
    const std::size_t had = held_.size();
    const std::string_view joined = bytes.substr(0, kJoinedBytes);
    held_.append(joined);
    const std::size_t used = read(held_);
    if (used < had) {
      held_.erase(0, used);
      bytes.remove_prefix(joined.size());
    } else {
      held_.clear();
      bytes.remove_prefix(used - had);
    }
  }
  if (!bytes.empty()) held_.assign(bytes.substr(read(bytes)));
}

/// Returns how many of the bytes are understood.
std::size_t MultipartReader::read(std::string_view bytes) {
  rest_ = bytes;
  while (step()) {
  }
  return bytes.size() - rest_.size();
}

void MultipartReader::finish() const {
  if (state_ != State::kEpilogue) refuse("it ends before its closing delimiter");
  if (!held_.empty() && held_ != "\r\n") refuse("something follows the closing delimiter");
}

/// One step of the reading; false when more bytes are needed.
bool MultipartReader::step() {
  switch (state_) {
    case State::kData: return read_data();
    case State::kAfterDelimiter: return read_after_delimiter();
    case State::kHead: return read_head();
    case State::kEpilogue: break;
  }
  if (rest_.size() > 2) refuse("something follows the closing delimiter");
  return false;
}

bool MultipartReader::read_data() {
  const auto found = rest_.find(delimiter_);
  // Without a delimiter, the last bytes may be the beginning of one.
  const auto known = found != std::string_view::npos ? found
                     : rest_.size() >= delimiter_.size() ? rest_.size() - delimiter_.size() + 1
                                                         : 0;
  if (known > 0) {
    if (!in_part_) refuse("it does not begin with its boundary");
    sink_.on_data(rest_.substr(0, known));
    rest_.remove_prefix(known);
  }
  if (found == std::string_view::npos) return false;
  if (in_part_) sink_.on_part_end();
  in_part_ = false;
  rest_.remove_prefix(delimiter_.size());
  state_ = State::kAfterDelimiter;
  return true;
}

bool MultipartReader::read_after_delimiter() {
  if (rest_.size() < 2) return false;
  if (rest_.starts_with("--"))
    state_ = State::kEpilogue;
  else if (rest_.starts_with("\r\n"))
    state_ = State::kHead;
  else
    refuse("a boundary line has something after it");
  rest_.remove_prefix(2);
  return true;
}

bool MultipartReader::read_head() {
  const auto end = rest_.find("\r\n\r\n");
  // Of a head whose end has not come, the last three bytes may belong to the end.
  const auto known = end != std::string_view::npos ? end : rest_.size() - std::min<std::size_t>(rest_.size(), 3);
  if (known > kMostHeadBytes) refuse("a part's head is larger than 8 KB");
  if (end == std::string_view::npos) return false;
  if (++parts_ > kMostParts) refuse("it has more than 32 parts");
  sink_.on_part(parse_part_head(rest_.substr(0, end)));
  in_part_ = true;
  rest_.remove_prefix(end + 4);
  state_ = State::kData;
  return true;
}

}  // namespace finetuned::gateway
