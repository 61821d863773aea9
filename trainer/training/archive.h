#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/errors.h"
#include "base/files.h"
#include "base/sha256.h"

/// How values are written to a file of ours and read again, bit for bit: numbers as they lie in memory (little-endian), vectors
/// and texts behind their length in 8 bytes.
namespace finetuned::training::archive {

inline constexpr std::size_t kBuffer = 1 << 20;

/// `file` outlives it; flush() writes what is left.
class Writer {
 public:
  explicit Writer(base::DurableFile& file) : file_(file) {}

  void bytes(const void* data, std::size_t size) {
    if (size >= kBuffer) {  // not copied once more: it may be as large as the model
      flush();
      return write({static_cast<const char*>(data), size});
    }
    buffer_.append(static_cast<const char*>(data), size);
    if (buffer_.size() >= kBuffer) flush();
  }
  void flush() {
    write(buffer_);
    buffer_.clear();
  }
  /// Writes what is left, and behind it the SHA-256 of everything, in 64 hex digits. Once, at the end.
  void end_with_digest() {
    flush();
    file_.write(digest_.hex());
  }

 private:
  void write(std::string_view data) {
    file_.write(data);
    digest_.update(data);
  }

  base::DurableFile& file_;
  base::Sha256 digest_;
  std::string buffer_;
};

class Reader {
 public:
  explicit Reader(const std::filesystem::path& file) : file_(file), in_(file, std::ios::binary), left_(std::filesystem::file_size(file)) {}

  void bytes(void* data, std::size_t size) {
    if (size > left_ || !in_.read(static_cast<char*>(data), static_cast<std::streamsize>(size))) refuse();
    left_ -= size;
  }
  /// `count` things of so many bytes each, where they can be there.
  std::size_t count_of(std::uint64_t count, std::size_t size) const {
    if (count > left_ / size) refuse();
    return static_cast<std::size_t>(count);
  }
  [[noreturn]] void refuse() const { throw base::FormatError(file_.string(), "", "is not whole, or not of this program"); }

 private:
  std::filesystem::path file_;
  std::ifstream in_;
  std::uint64_t left_;
};

template <class Value>
concept Plain = std::is_arithmetic_v<Value> || std::is_enum_v<Value>;

void put(Writer& out, const Plain auto& value) { out.bytes(&value, sizeof value); }
void take(Reader& in, Plain auto& value) { in.bytes(&value, sizeof value); }

template <class Value>
void put(Writer& out, const std::vector<Value>& values);
template <class Value>
void take(Reader& in, std::vector<Value>& values);

inline void put(Writer& out, const std::string& text) {
  put(out, text.size());
  out.bytes(text.data(), text.size());
}
inline void take(Reader& in, std::string& text) {
  std::size_t size = 0;
  take(in, size);
  text.resize(in.count_of(size, 1));
  in.bytes(text.data(), text.size());
}

inline void put(Writer& out, const std::filesystem::path& path) { put(out, path.string()); }
inline void take(Reader& in, std::filesystem::path& path) {
  std::string text;
  take(in, text);
  path = text;
}

template <class Value>
void put(Writer& out, const std::optional<Value>& value) {
  put(out, value.has_value());
  if (value) put(out, *value);
}
template <class Value>
void take(Reader& in, std::optional<Value>& value) {
  bool there = false;
  take(in, there);
  if (there) take(in, value.emplace());
}

template <class Value>
void put(Writer& out, const std::vector<Value>& values) {
  put(out, values.size());
  if constexpr (Plain<Value>) {
    out.bytes(values.data(), values.size() * sizeof(Value));
  } else {
    for (const Value& value : values) put(out, value);
  }
}
template <class Value>
void take(Reader& in, std::vector<Value>& values) {
  std::size_t size = 0;
  take(in, size);
  if constexpr (Plain<Value>) {
    values.resize(in.count_of(size, sizeof(Value)));
    in.bytes(values.data(), values.size() * sizeof(Value));
  } else {
    values.resize(in.count_of(size, sizeof(std::size_t)));
    for (Value& value : values) take(in, value);
  }
}

}  // namespace finetuned::training::archive
