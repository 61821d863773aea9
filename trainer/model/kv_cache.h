#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/expects.h"
#include "trainer/formats/hf_config.h"
#include "trainer/kernels/attention.h"
#include "trainer/tensor/buffer.h"

namespace finetuned::model {

/// The keys (after RoPE) and values of some sequences' tokens so far, on the device, in pages that sequences take as they grow and give
/// back, so that short and long ones share one piece of memory. A page holds kernels::kKeyPage tokens; on the processor, whose kernels
/// read a sequence's keys in one piece, a whole sequence. Belongs to one model.
template <class Device>
class KvCache {
 public:
  using Real = typename Device::Real;

  /// For `sequences` of up to `most_tokens` each, or for as many pages as `most_bytes` hold, one sequence's at least.
  KvCache(const Device& device, const formats::ModelConfig& config, std::int64_t sequences, std::int64_t most_tokens,
          std::uint64_t most_bytes = std::numeric_limits<std::uint64_t>::max())
      : capacity(most_tokens),
        page_tokens(page_of(most_tokens)),
        lengths(static_cast<std::size_t>(sequences)),
        tables_(static_cast<std::size_t>(sequences)) {
    const std::int64_t of_one = pages_for(most_tokens, page_tokens), of_all = sequences * of_one;
    const std::uint64_t bytes = page_bytes(config, page_tokens), fitting = std::min(most_bytes / bytes, static_cast<std::uint64_t>(of_all));
    const std::int64_t pages = std::max(of_one, static_cast<std::int64_t>(fitting));
    for (std::int64_t page = pages - 1; page >= 0; --page) free_.push_back(static_cast<std::int32_t>(page));
    for (std::vector<std::int32_t>& table : tables_) table.reserve(static_cast<std::size_t>(of_one));
    layer_size = pages * page_tokens * config.kv_heads * config.head_dim;
    memory_ = device.allocate(static_cast<std::size_t>(pages) * bytes);
    keys = static_cast<Real*>(memory_.data());
    values = keys + config.layers * layer_size;
  }

  static std::uint64_t planned_bytes(const formats::ModelConfig& config, std::int64_t sequences, std::int64_t most_tokens) {
    const std::int64_t page = page_of(most_tokens);
    return static_cast<std::uint64_t>(sequences * pages_for(most_tokens, page)) * page_bytes(config, page);
  }

  /// Takes pages for `sequence` to reach `tokens` <= capacity. False, and nothing taken, where too few are free.
  bool reserve(std::int64_t sequence, std::int64_t tokens) {
    base::expects(tokens <= capacity, "a sequence keeps to its cache");
    std::vector<std::int32_t>& table = tables_[static_cast<std::size_t>(sequence)];
    const auto wanted = static_cast<std::size_t>(pages_for(tokens, page_tokens));
    if (wanted > table.size() + free_.size()) return false;
    while (table.size() < wanted) {
      table.push_back(free_.back());
      free_.pop_back();
    }
    return true;
  }

  /// Forgets `sequence`'s tokens and gives its pages back.
  void clear(std::int64_t sequence) {
    std::vector<std::int32_t>& table = tables_[static_cast<std::size_t>(sequence)];
    free_.insert(free_.end(), table.rbegin(), table.rend());
    table.clear();
    lengths[static_cast<std::size_t>(sequence)] = 0;
  }

  /// A sequence's pages in the order of its tokens.
  std::span<const std::int32_t> pages(std::int64_t sequence) const { return tables_[static_cast<std::size_t>(sequence)]; }
  /// Where a token of it lies: the row of a layer's keys, and of its values.
  std::int64_t row(std::int64_t sequence, std::int64_t position) const {
    const std::int64_t page = tables_[static_cast<std::size_t>(sequence)].at(static_cast<std::size_t>(position / page_tokens));
    return page * page_tokens + position % page_tokens;
  }

  std::int64_t capacity;              ///< tokens that a sequence may reach
  std::int64_t page_tokens;
  std::vector<std::int64_t> lengths;  ///< [sequences] tokens held
  std::int64_t layer_size = 0;
  Real* keys = nullptr;  ///< [layers, pages, page_tokens, kv_heads, head_dim]
  Real* values = nullptr;

 private:
  static std::int64_t page_of(std::int64_t most_tokens) { return Device::kHostMemory ? most_tokens : kernels::kKeyPage; }
  static std::int64_t pages_for(std::int64_t tokens, std::int64_t page) { return (tokens + page - 1) / page; }
  static std::uint64_t page_bytes(const formats::ModelConfig& config, std::int64_t page) {
    return static_cast<std::uint64_t>(2 * config.layers * page * config.kv_heads * config.head_dim) * sizeof(Real);
  }

  std::vector<std::vector<std::int32_t>> tables_;  // [sequences]
  std::vector<std::int32_t> free_;                 // the last one is taken first
  tensor::Buffer memory_;
};

/// New tokens of one of a cache's sequences.
struct Continuation {
  std::int64_t sequence = 0;
  std::span<const std::int32_t> tokens;
};

}  // namespace finetuned::model
