// Where the build has no CUDA or no NCCL: ranks sum by the host.

#include "trainer/collective/gpu_exchange.h"

namespace finetuned::collective {

struct GpuExchange::Joined {};

std::unique_ptr<GpuExchange> GpuExchange::join(Collective&, const GpuId&, void*, std::chrono::milliseconds) { return nullptr; }
GpuExchange::~GpuExchange() = default;
void GpuExchange::trade(std::span<const Outgoing>, std::span<const Incoming>) {}

}  // namespace finetuned::collective
