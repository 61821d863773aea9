#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>

#include "trainer/tensor/cuda_graph.h"

namespace finetuned::tensor {

/// What decides that two runs start the same kernels with the same arguments.
using GraphKey = std::array<std::uint64_t, 5>;

/// Runs of kernels that come again and again. On the processor nothing is gained by keeping them.
template <class Device, class Result>
class Graphs {
 public:
  template <class Work>
  Result run(const Device&, const GraphKey&, const Work& work) {
    return work();
  }
  std::int64_t starts() const { return 0; }
};

/// On a GPU a run that came once is recorded when it comes again, and started as one graph from then on: hundreds of kernels by one
/// call. The recorded kernels hold addresses, so this belongs to what owns the memory.
template <class Result>
class Graphs<Cuda, Result> {
 public:
  /// `work` only starts kernels, products, and copies within the GPU; what it returned when it was recorded is returned each time.
  template <class Work>
  Result run(const Cuda& device, const GraphKey& key, const Work& work) {
    if (device.profile()) return work();  // a graph's kernels have no times of their own
    const auto found = known_.find(key);
    if (found == known_.end()) {
      make_room();
      known_[key].used = ++uses_;
      return work();
    }
    Known& known = found->second;
    known.used = ++uses_;
    if (!known.graph) {
      Result result;
      known.graph.emplace(device, [&] { result = work(); });
      known.result = std::move(result);
    }
    known.graph->start(device);
    ++starts_;
    return known.result;
  }
  std::int64_t starts() const { return starts_; }  ///< of recorded runs

 private:
  static constexpr std::size_t kMost = 16;  ///< keys that are remembered

  struct Known {
    std::optional<CudaGraph> graph;  ///< nothing: came once
    Result result;
    std::int64_t used = 0;  ///< the greater, the later
  };

  /// Forgets what came once before what was recorded, and of these what was used longest ago.
  void make_room() {
    if (known_.size() < kMost) return;
    const auto before = [](const auto& a, const auto& b) {
      return std::pair(a.second.graph.has_value(), a.second.used) < std::pair(b.second.graph.has_value(), b.second.used);
    };
    known_.erase(std::min_element(known_.begin(), known_.end(), before));
  }

  std::map<GraphKey, Known> known_;
  std::int64_t uses_ = 0, starts_ = 0;
};

}  // namespace finetuned::tensor
