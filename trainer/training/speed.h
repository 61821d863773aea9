#pragma once

#include <cstdint>

#include "trainer/formats/hf_config.h"
#include "trainer/model/settings.h"
#include "trainer/tensor/cuda.h"
#include "trainer/tensor/device.h"

namespace finetuned::training {

/// What a device reaches in the engine's own matrix product (kernels/gemm.h) at a size that suits it, in GFLOP/s: the
/// processor in single precision at 512 x 512 x 512, a GPU in bfloat16 at 8,192 x 8,192 x 8,192; the best of the products
/// that fit into some 50 ms, two at least. Other work on it lowers it: nothing of this process should run beside it.
/// Takes 4 MB; with a GPU 400 MB of it and 270 MB of the host.
template <class Device>
double gemm_gflops(const Device& device);

/// The matrix products that one optimizer step cannot do without, in floating-point operations (a
/// multiply-add is two), for T tokens of which S are supervised. With N the elements of the seven linear
/// weights of all layers, H those of the head, P those of the adapters' matrices:
///
///     trains an adapter:        2 N T forward, 2 N T for the gradient of what came in, 6 P T; head: 4 H S
///     trains every weight:      2 N T forward, 4 N T backward;                                 head: 6 H S
///
/// less the gradients that nobody reads, those below the first layer's lowest adapter, and less what the last
/// layer would do for positions that are not supervised: of those only keys and values matter. Attention's own
/// products, norms and whatever is computed again are left out, so that the speed over gemm_gflops() is a
/// lower bound of how busy the device is, and a low one where rows are long or the model is narrow.
double step_flops(const formats::ModelConfig& config, const model::ModelSettings& settings,
                  std::int64_t tokens, std::int64_t supervised);

/// The most memory that this process has held at once (its peak resident set), in bytes.
std::uint64_t peak_memory_bytes();

}  // namespace finetuned::training
