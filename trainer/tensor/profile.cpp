#include "trainer/tensor/profile.h"

#include <algorithm>

namespace finetuned::tensor {

void Profile::add(std::string_view name, double seconds, double flops, double bytes) {
  auto line = std::find_if(lines_.begin(), lines_.end(), [&](const Line& one) { return one.name == name; });
  if (line == lines_.end()) line = lines_.insert(line, Line{.name = name});
  ++line->calls;
  line->seconds += seconds;
  line->flops += flops;
  line->bytes += bytes;
}

}  // namespace finetuned::tensor
