#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace finetuned::formats {

/// Takes bytes in order. What it throws ends the writing.
using ByteSink = std::function<void(std::string_view)>;

/// An uncompressed tar archive (POSIX ustar; the size of a file of 8 GiB and more in GNU's base-256) of plain files, mode
/// 0644, without owner and time: the same files give the same bytes.
class TarWriter {
 public:
  explicit TarWriter(ByteSink sink) : sink_(std::move(sink)) {}

  /// Begins a file. `name`: 1 to 100 bytes, relative, with / between folders.
  void begin(std::string_view name, std::uint64_t bytes);
  /// The begun file's next bytes; no more than it was said to have.
  void write(std::string_view data);
  /// After the last file, which is whole, as each one before it was.
  void finish();

 private:
  void pad();
  ByteSink sink_;
  std::uint64_t left_ = 0;  ///< of the begun file
  std::uint64_t file_bytes_ = 0;
};

}  // namespace finetuned::formats
