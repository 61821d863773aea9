#include "trainer/kernels/cpu/tiles.h"

namespace finetuned::kernels {

const Tiles& tiles(tensor::Isa isa) {
#if defined(__x86_64__)
  if (isa == tensor::Isa::kAvx512) return avx512::kTiles;
  if (isa == tensor::Isa::kAvx2) return avx2::kTiles;
#endif
  (void)isa;
  return baseline::kTiles;
}

}  // namespace finetuned::kernels
