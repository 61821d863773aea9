#pragma once

#include <cstddef>
#include <memory>

namespace finetuned::tensor {

/// Zeroed memory from the operating system, aligned to 64 bytes; from 4 MiB on aligned to 2 MiB and marked
/// for huge pages. Move-only. Throws std::bad_alloc.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t bytes);

  void* data() const { return memory_.get(); }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  std::unique_ptr<void, Free> memory_;
  std::size_t bytes_ = 0;
};

}  // namespace finetuned::tensor
