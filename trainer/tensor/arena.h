#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/expects.h"
#include "trainer/tensor/buffer.h"
#include "trainer/tensor/memory_plan.h"

namespace finetuned::tensor {

/// All the memory of a model, in one piece. First every part is reserved by name; then `allocate()` makes the piece.
/// The same reservations without `allocate()` are the memory plan, so that a plan cannot differ from what is used.
/// A reservation may be taken by any number of names that share its lifetime.
template <class T>
struct Reservation {
  std::size_t offset = 0;  ///< bytes from the arena's start
  std::size_t count = 0;   ///< elements
};

class Arena {
 public:
  /// Reserves `count` elements, aligned to 64 bytes, under a plan line `name` (lines of one name add up).
  template <class T>
  Reservation<T> reserve(const std::string& name, std::int64_t count) {
    base::expects(!buffer_.data(), "reservations come before allocate()");
    base::expects(count >= 0, "a reservation has a size");
    return {take(name, static_cast<std::size_t>(count) * sizeof(T)), static_cast<std::size_t>(count)};
  }

  void allocate();

  template <class T>
  T* at(const Reservation<T>& reservation) const {
    if (reservation.count == 0) return nullptr;
    base::expects(buffer_.data(), "allocate() comes before use");
    return reinterpret_cast<T*>(static_cast<std::byte*>(buffer_.data()) + reservation.offset);
  }

  std::size_t bytes() const { return bytes_; }
  const std::vector<MemoryLine>& lines() const { return lines_; }

 private:
  std::size_t take(const std::string& name, std::size_t bytes);

  std::size_t bytes_ = 0;
  std::vector<MemoryLine> lines_;
  Buffer buffer_;
};

}  // namespace finetuned::tensor
