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

}  // namespace finetuned::tensor
