// Where the build has no CUDA or no NCCL: ranks sum by the host.

#include "trainer/collective/gpu_exchange.h"

namespace finetuned::collective {

struct GpuExchange::Joined {};

std::unique_ptr<GpuExchange> GpuExchange::join(Collective& group, const GpuId&, void*) {
  gather_values(group, std::uint8_t{0});  // this one cannot, which the others hear
  return nullptr;
}
GpuExchange::~GpuExchange() = default;
void GpuExchange::trade(std::span<const Outgoing>, std::span<const Incoming>) {}

}  // namespace finetuned::collective
