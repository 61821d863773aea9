#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "trainer/tensor/cuda_graph.h"

namespace finetuned::tensor {

/// What decides that two runs start the same kernels with the same arguments.
using GraphKey = std::vector<std::uint64_t>;

/// Runs of kernels that come again and again. On the processor nothing is gained by keeping them.
template <class Device, class Result>
class Graphs {
 public:
  template <class Work>
  Result run(const Device&, const GraphKey&, const Work& work) {
    return work();
  }
};

/// On a GPU a run that came once is recorded when it comes again, and started as one graph from then on: hundreds of kernels by one
/// call. The recorded kernels hold addresses, so this belongs to what owns the memory.
template <class Result>
class Graphs<Cuda, Result> {
 public:
  /// `work` only starts kernels, products, and copies within the GPU; what it returned when it was recorded is returned each time.
  template <class Work>
  Result run(const Cuda& device, const GraphKey& key, const Work& work) {
    const auto found = known_.find(key);
    if (found == known_.end()) {
      if (known_.size() >= kMost) known_.clear();
      known_.emplace(key, std::nullopt);
      return work();
    }
    if (!found->second) {
      Result result;
      CudaGraph graph(device, [&] { result = work(); });
      found->second.emplace(Recorded{std::move(graph), std::move(result)});
    }
    found->second->graph.start(device);
    return found->second->result;
  }

 private:
  static constexpr std::size_t kMost = 16;  ///< keys that are remembered

  struct Recorded {
    CudaGraph graph;
    Result result;
  };
  std::map<GraphKey, std::optional<Recorded>> known_;  ///< nothing: came once
};

}  // namespace finetuned::tensor
