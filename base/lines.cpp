#include "base/lines.h"

#include <algorithm>

namespace finetuned::base {

namespace {

constexpr std::size_t kPiece = 1 << 16;

}  // namespace

bool LineReader::refill() {
  buffer_.resize(kPiece);
  stream_.read(buffer_.data(), static_cast<std::streamsize>(kPiece));
  buffer_.resize(static_cast<std::size_t>(stream_.gcount()));
  at_ = 0;
  return !buffer_.empty();
}

bool LineReader::next(std::string& line) {
  line.clear();
  bool passing_over = too_long_;
  bool any = false;
  too_long_ = false;
  while (at_ < buffer_.size() || refill()) {
    const std::size_t end = std::min(buffer_.find('\n', at_), buffer_.size());
    const bool whole = end < buffer_.size();
    const std::size_t begin = at_;
    at_ = end + (whole ? 1 : 0);
    if (passing_over) {
      passing_over = !whole;
      continue;
    }
    any = true;
    too_long_ = line.size() + (end - begin) > most_bytes_;
    if (too_long_ && whole) at_ = end;  // its end belongs to what is passed over
    if (too_long_) break;
    line.append(buffer_, begin, end - begin);
    if (whole) break;
  }
  if (!any || stream_.bad()) return false;
  ++number_;
  if (too_long_) line.clear();
  if (line.ends_with('\r')) line.pop_back();
  return true;
}

}  // namespace finetuned::base
