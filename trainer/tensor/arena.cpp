#include "trainer/tensor/arena.h"

namespace finetuned::tensor {

void Arena::allocate() {
  base::expects(!buffer_.data(), "an arena is allocated once");
  buffer_ = Buffer(bytes_);
}

std::size_t Arena::take(const std::string& name, std::size_t bytes) {
  const std::size_t rounded = (bytes + 63) / 64 * 64;
  const std::size_t offset = bytes_;
  bytes_ += rounded;
  for (auto& line : lines_) {
    if (line.name == name) {
      line.bytes += rounded;
      return offset;
    }
  }
  lines_.push_back({name, rounded});
  return offset;
}

}  // namespace finetuned::tensor
