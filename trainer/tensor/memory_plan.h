#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace finetuned::tensor {

/// One named part of what a run holds in memory.
struct MemoryLine {
  std::string name;  ///< `frozen weights`, `activations`, ...
  std::uint64_t bytes = 0;
};

/// `12.3 MB`.
std::string megabytes(std::uint64_t bytes);

}  // namespace finetuned::tensor
