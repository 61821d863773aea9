#pragma once

#include <cstddef>
#include <memory>

namespace finetuned::tensor {

/// Memory of some device. Move-only.
class Buffer {
 public:
  using Release = void (*)(void* memory);

  Buffer() = default;
  /// Zeroed memory from the operating system, aligned to 64 bytes; from 4 MiB on aligned to 2 MiB and marked
  /// for huge pages. Throws std::bad_alloc.
  explicit Buffer(std::size_t bytes);
  /// Takes over `memory`, which `release` gives back.
  Buffer(void* memory, std::size_t bytes, Release release) : memory_(memory, release), bytes_(bytes) {}

  void* data() const { return memory_.get(); }
  std::size_t bytes() const { return bytes_; }

 private:
  std::unique_ptr<void, Release> memory_{nullptr, nullptr};
  std::size_t bytes_ = 0;
};

}  // namespace finetuned::tensor
