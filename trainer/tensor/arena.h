#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "trainer/tensor/buffer.h"
#include "trainer/tensor/memory_plan.h"

namespace finetuned::tensor {

/// All the memory of a model on its device, in one piece. First every part is reserved by name, together with the pointer
/// that will lead to it; then `allocate()` takes the piece and sets the pointers. The reservations alone are
/// the memory plan, so a plan cannot differ from what is used.
class Arena {
 public:
  /// Reserves `count` elements of zeroed memory, aligned to 64 bytes, under the plan line `name` (lines of
  /// one name add up). `pointer` must stay where it is until allocate(), which sets it; to null where `count`
  /// is 0.
  template <class T>
  void reserve(T*& pointer, const std::string& name, std::int64_t count) {
    take(name, count, sizeof(T),
         count == 0 ? Setter{nullptr, nullptr} : Setter{&pointer, [](void* where, void* memory) {
                                                          *static_cast<T**>(where) = static_cast<T*>(memory);
                                                        }});
  }

  /// Once, after the last reservation. Throws std::bad_alloc.
  template <class Device>
  void allocate(const Device& device) {
    hold(device.allocate(bytes_));
  }

  std::size_t bytes() const { return bytes_; }
  const std::vector<MemoryLine>& lines() const { return lines_; }

 private:
  struct Setter {
    void* where;
    void (*set)(void* where, void* memory);
  };
  struct Part {
    std::size_t offset;
    Setter setter;
  };
  void hold(Buffer buffer);
  void take(const std::string& name, std::int64_t count, std::size_t size, Setter setter);

  std::size_t bytes_ = 0;
  std::vector<MemoryLine> lines_;
  std::vector<Part> parts_;
  Buffer buffer_;
};

}  // namespace finetuned::tensor
