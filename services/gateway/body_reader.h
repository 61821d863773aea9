#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "services/gateway/head.h"

namespace finetuned::gateway {

/// Takes a request body out of its framing as it arrives, however it is cut into pieces; holds at most 8 KB of it.
/// Counted bodies are Content-Length bytes. Chunked ones (RFC 9112, 7.1) are read strictly, as heads are: a chunk-size
/// is 1 to 15 hexadecimal digits with nothing before them, and at once a CRLF or `;` and extensions, which are ignored
/// (visible ASCII, a line of at most 256 bytes, 8 KB in a body); CRLF after the data of each chunk; at most 8 KB and 100
/// fields of trailer. Trailer fields are checked as header fields are and dropped: none ever reaches the request. One
/// that would frame, route, authenticate or describe it is refused, since another reader may believe it.
class BodyReader {
 public:
  explicit BodyReader(const Head& head);

  bool done() const { return state_ == State::kDone; }

  struct Progress {
    std::size_t used = 0;     ///< of `in`: everything, unless `out` was full or the body ended
    std::size_t written = 0;  ///< to `out`
  };
  /// Throws ApiError 400 `invalid_chunk`; never done() after that.
  Progress read(std::string_view in, char* out, std::size_t room);

  /// How many of the next bytes are the body's own: they can go where they are wanted without read(), if took() hears of
  /// them.
  std::uint64_t plain_bytes() const;
  void took(std::uint64_t bytes);

 private:
  enum class State { kCounted, kSize, kData, kDataEnd, kTrailer, kDone };
  void take_line(std::string_view line);
  void take_size(std::string_view line);
  void take_trailer(std::string_view line);
  /// Moves bytes of `in` to line_, up to a line's end. False where the line is not whole yet.
  bool gather_line(std::string_view in, std::size_t& used);

  State state_ = State::kDone;
  std::uint64_t left_ = 0;  ///< bytes of data still to come, of the body or of the chunk
  std::string line_;        ///< arrived, its end not yet
  std::size_t extension_bytes_ = 0;
  std::size_t trailer_bytes_ = 0;
  StringPairs trailer_;
};

/// Whether a trailer field of this (lower-case) name is refused.
bool is_refused_trailer(std::string_view name);

}  // namespace finetuned::gateway
