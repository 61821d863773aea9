#include "trainer/tensor/buffer.h"

#include <cstdlib>
#include <cstring>
#include <new>
#include <sys/mman.h>

namespace finetuned::tensor {

namespace {
constexpr std::size_t kHugeFrom = std::size_t{4} << 20;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
}  // namespace

Buffer::Buffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  const std::size_t alignment = bytes >= kHugeFrom ? kHugePage : 64;
  const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
  memory_ = {std::aligned_alloc(alignment, rounded), std::free};
  if (!memory_) throw std::bad_alloc();
  // Advice only: where huge pages are off, ordinary ones serve.
  if (alignment == kHugePage) madvise(memory_.get(), rounded, MADV_HUGEPAGE);
  std::memset(memory_.get(), 0, rounded);
}

}  // namespace finetuned::tensor
