#include "trainer/tensor/arena.h"

#include <utility>

#include "base/expects.h"

namespace finetuned::tensor {

void Arena::hold(Buffer buffer) {
  base::expects(!buffer_.data(), "an arena is allocated once");
  buffer_ = std::move(buffer);
  for (const Part& part : parts_)
    part.setter.set(part.setter.where, static_cast<std::byte*>(buffer_.data()) + part.offset);
  parts_.clear();
}

void Arena::take(const std::string& name, std::int64_t count, std::size_t size, Setter setter) {
  base::expects(!buffer_.data(), "reservations come before allocate()");
  base::expects(count >= 0, "a reservation has a size");
  if (count == 0) return;
  const std::size_t bytes = (static_cast<std::size_t>(count) * size + 63) / 64 * 64;
  parts_.push_back({bytes_, setter});
  bytes_ += bytes;
  for (auto& line : lines_) {
    if (line.name == name) {
      line.bytes += bytes;
      return;
    }
  }
  lines_.push_back({name, bytes});
}

}  // namespace finetuned::tensor
