#pragma once

#include <cstddef>
#include <cstdint>
#include <istream>
#include <string>

namespace finetuned::base {

/// The lines of a stream one after another, in memory bounded by the longest that is allowed.
class LineReader {
 public:
  /// `stream` outlives the reader.
  LineReader(std::istream& stream, std::size_t most_bytes) : stream_(stream), most_bytes_(most_bytes) {}

  /// The next line without its end, LF or CRLF; an empty one where it was too_long(), whose rest is passed over by the next
  /// call. False at the end of the stream and where it cannot be read to its end: then stream.bad().
  bool next(std::string& line);

  bool too_long() const { return too_long_; }
  std::int64_t number() const { return number_; }  ///< of the last line, from 1

 private:
  bool refill();

  std::istream& stream_;
  std::size_t most_bytes_;
  std::string buffer_;
  std::size_t at_ = 0;
  bool too_long_ = false;
  std::int64_t number_ = 0;
};

}  // namespace finetuned::base
