#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace finetuned::text {

/// A piece of the input as a normalizer left it, and for each of its bytes the bytes of the input it stands
/// for. Nothing is copied while nothing was changed.
class AlignedText {
 public:
  /// `text` as it stands in the input, from byte `base` on; the input outlives this.
  AlignedText(std::string_view text, std::uint32_t base) : view_(text), base_(base) {}
  /// Starts empty, to be appended to; `capacity` in bytes.
  static AlignedText empty(std::uint32_t base, std::size_t capacity);

  AlignedText(AlignedText&& other) noexcept;
  AlignedText& operator=(AlignedText&& other) noexcept;
  AlignedText(const AlignedText&) = delete;
  AlignedText& operator=(const AlignedText&) = delete;

  std::string_view text() const { return owned_ ? std::string_view(own_text_) : view_; }
  std::uint32_t begin_of(std::size_t byte) const {
    return owned_ ? begins_[byte] : base_ + static_cast<std::uint32_t>(byte);
  }
  std::uint32_t end_of(std::size_t byte) const {
    return owned_ ? ends_[byte] : base_ + static_cast<std::uint32_t>(byte) + 1;
  }
  std::uint32_t base() const { return base_; }

  /// Appends bytes that stand for the input's [begin, end), all of them together.
  void append(std::string_view text, std::uint32_t begin, std::uint32_t end);
  /// Appends other.text()[begin, end) with its places.
  void append(const AlignedText& other, std::size_t begin, std::size_t end);

 private:
  std::string_view view_;
  std::uint32_t base_ = 0;
  bool owned_ = false;
  std::string own_text_;
  std::vector<std::uint32_t> begins_;
  std::vector<std::uint32_t> ends_;
};

/// [begin, end) of an AlignedText's bytes.
struct Slice {
  const AlignedText* source = nullptr;
  std::size_t begin = 0;
  std::size_t end = 0;

  std::string_view text() const { return source->text().substr(begin, end - begin); }
  bool empty() const { return begin == end; }
  /// The input's byte at which the slice begins.
  std::uint32_t input_begin() const { return empty() ? source->base() : source->begin_of(begin); }
};

}  // namespace finetuned::text
