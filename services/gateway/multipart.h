#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace finetuned::gateway {

/// The head of one part of a multipart/form-data body.
struct PartHead {
  std::string name;
  std::optional<std::string> filename;  ///< a label: without directories or control characters
  std::string content_type;             ///< empty where the part has none
};

/// Hears the parts of a body in order. What it throws ends the reading.
class PartSink {
 public:
  virtual ~PartSink() = default;
  virtual void on_part(const PartHead& head) = 0;
  /// A piece of the current part; called any number of times.
  virtual void on_data(std::string_view data) = 0;
  virtual void on_part_end() = 0;
};

/// Reads multipart/form-data (RFC 7578) as it arrives, however it is cut into pieces; holds less than 16 KB of it.
/// Strict: nothing before the first delimiter, nothing but a line end after the last; CRLF line ends; each part with
/// exactly one `Content-Disposition: form-data` and a name, at most 8 KB of head, no transfer encoding; at most 32
/// parts. Broken rules throw ApiError 400 `invalid_multipart`.
class MultipartReader {
 public:
  MultipartReader(std::string_view boundary, PartSink& sink);

  void feed(std::string_view bytes);
  /// After the last byte: throws where the closing delimiter has not come.
  void finish() const;

 private:
  enum class State { kData, kAfterDelimiter, kHead, kEpilogue };
  std::size_t read(std::string_view bytes);
  bool step();
  bool read_data();
  bool read_after_delimiter();
  bool read_head();

  std::string delimiter_;  ///< CRLF, two dashes, boundary
  PartSink& sink_;
  std::string held_;       ///< arrived, not yet understood
  std::string_view rest_;  ///< of what is being read
  State state_ = State::kData;
  bool in_part_ = false;
  std::size_t parts_ = 0;
};

/// The boundary of a `multipart/form-data; boundary=...` content type. Throws ApiError 415 for another type, 400 for a
/// missing or invalid boundary.
std::string multipart_boundary(std::optional<std::string_view> content_type);

/// Parses one part's header lines (without the empty line). Throws ApiError 400.
PartHead parse_part_head(std::string_view lines);

}  // namespace finetuned::gateway
