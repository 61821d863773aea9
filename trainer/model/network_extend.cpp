// Generation: new tokens behind what a cache holds.

#include <algorithm>

#include "base/expects.h"
#include "trainer/kernels/gemm.h"
#include "trainer/kernels/rmsnorm.h"
#include "trainer/model/network.h"

namespace finetuned::model {

template <class Device>
void Network<Device>::take_continuations(std::span<const Continuation> continuations,
                                         KvCache<Device>& cache) {
  host_ids.clear();
  host_positions.clear();
  host_slots.clear();
  host_supervised.clear();
  host_bounds.assign(1, 0);
  host_key_begin.clear();
  host_key_end.clear();
  host_pages.clear();
  for (const Continuation& one : continuations) {
    const std::int64_t behind = cache.lengths.at(static_cast<std::size_t>(one.sequence));
    const auto count = static_cast<std::int64_t>(one.tokens.size());
    base::expects(count >= 1 && behind + count <= cache.capacity && behind + count <= max_positions,
                  "a sequence keeps to its cache and context");
    base::expects(cache.reserve(one.sequence, behind + count), "a sequence has the pages that it needs");
    const std::int64_t begin = Device::kHostMemory ? cache.row(one.sequence, 0) : 0;
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int32_t id = one.tokens[static_cast<std::size_t>(i)];
      base::expects(id >= 0 && id < config.vocab_size, "ids are of the vocabulary");
      host_ids.push_back(id);
      host_positions.push_back(static_cast<std::int32_t>(behind + i));
      host_slots.push_back(static_cast<std::int32_t>(cache.row(one.sequence, behind + i)));
    }
    const auto end = static_cast<std::int32_t>(host_ids.size());
    host_bounds.push_back(end);
    host_supervised.push_back(end - 1);
    host_key_begin.push_back(static_cast<std::int32_t>(begin));
    host_key_end.push_back(static_cast<std::int32_t>(begin + behind + count));
    if (key_pages) {
      const auto pages = cache.pages(one.sequence).first(
          std::min(cache.pages(one.sequence).size(), static_cast<std::size_t>(most_pages())));
      host_pages.insert(host_pages.end(), pages.begin(), pages.end());
      host_pages.resize(host_key_end.size() * static_cast<std::size_t>(most_pages()));
    }
  }
  supervised_count = static_cast<std::int64_t>(continuations.size());
  const auto tokens = static_cast<std::int64_t>(host_ids.size());
  base::expects(tokens >= 1 && tokens <= settings.max_tokens, "new tokens keep to the token budget");
  device->copy_in(ids, host_ids.data(), tokens);
  device->copy_in(positions, host_positions.data(), tokens);
  device->copy_in(cache_slots, host_slots.data(), tokens);
  device->copy_in(cu_seqlens, host_bounds.data(), supervised_count + 1);
  device->copy_in(key_begin, host_key_begin.data(), supervised_count);
  device->copy_in(key_end, host_key_end.data(), supervised_count);
  device->copy_in(supervised, host_supervised.data(), supervised_count);
  if (key_pages) device->copy_in(key_pages, host_pages.data(), static_cast<std::int64_t>(host_pages.size()));
}

template <class Device>
void Network<Device>::extend(std::span<const Continuation> continuations, KvCache<Device>& cache,
                             std::span<Wide> host_logits) {
  const auto rows = static_cast<std::int64_t>(continuations.size());
  base::expects(rows >= 1 && rows <= most_continuations(), "continuations keep to the number of rows");
  base::expects(static_cast<std::int64_t>(host_logits.size()) == rows * config.vocab_size,
                "there is a logit for each sequence and id");
  take_continuations(continuations, cache);
  Pass pass;
  pass.tokens = static_cast<std::int64_t>(host_ids.size());
  pass.positions = positions;
  pass.cache = &cache;
  pass.attention = {rows,       config.heads, config.kv_heads, config.head_dim, config.sliding_window,
                    cu_seqlens, key_begin,    key_end,  pass.tokens, key_pages, most_pages()};
  forward(pass);
  kernels::rmsnorm(*device, {rows, config.hidden_size, config.rms_norm_eps}, out, final_norm.value,
                   head_normed, head_rstd);
  kernels::Gemm<Real, Wide> g;
  g.m = rows;
  g.n = config.vocab_size;
  g.products[0] = {{head_normed, config.hidden_size, 1},
                   {head_weight().value, config.hidden_size, true},
                   config.hidden_size};
  g.c = logits;
  g.c_stride = config.vocab_size;
  g.name = "logits";
  kernels::gemm(*device, g);
  device->read(host_logits.data(), logits, rows * config.vocab_size);
  for (const Continuation& one : continuations)
    cache.lengths[static_cast<std::size_t>(one.sequence)] += static_cast<std::int64_t>(one.tokens.size());
}

#define FINETUNED_INSTANTIATE(Device)                                                          \
  template void Network<Device>::extend(std::span<const Continuation>, KvCache<Device>&, \
                                        std::span<Device::Wide>);
FINETUNED_INSTANTIATE(tensor::Cpu)
FINETUNED_INSTANTIATE(tensor::Reference)
FINETUNED_INSTANTIATE(tensor::Cuda)

}  // namespace finetuned::model
