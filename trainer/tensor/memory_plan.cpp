#include "trainer/tensor/memory_plan.h"

#include <cstdio>

namespace finetuned::tensor {

std::string megabytes(std::uint64_t bytes) {
  char text[40];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

}  // namespace finetuned::tensor
