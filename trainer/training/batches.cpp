#include "trainer/training/batches.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/expects.h"
#include "trainer/kernels/counter_rng.h"

namespace finetuned::training {

namespace {
constexpr std::uint64_t kOrderDomain = 0x6f72646572;  // "order": keeps these numbers apart from other users of the seed
}

std::vector<std::int64_t> permutation(std::int64_t count, std::uint64_t seed, std::int64_t epoch) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  const std::uint64_t key = kernels::random_key(seed, kOrderDomain, epoch);
  for (std::int64_t last = count - 1; last > 0; --last) {
    const double drawn = kernels::random_uniform(key, static_cast<std::uint64_t>(last));
    const auto other = std::min(last, static_cast<std::int64_t>(drawn * static_cast<double>(last + 1)));
    std::swap(order[static_cast<std::size_t>(last)], order[static_cast<std::size_t>(other)]);
  }
  return order;
}

Batches::Batches(std::int64_t rows, std::int64_t batch_size, bool shuffle, std::uint64_t seed)
    : rows_(rows), batch_size_(batch_size), shuffle_(shuffle), seed_(seed) {
  base::expects(rows >= 1 && batch_size >= 1, "there are rows, and batches hold some");
}

std::int64_t Batches::steps_per_epoch() const { return (rows_ + batch_size_ - 1) / batch_size_; }

const std::vector<std::int64_t>& Batches::rows_of(std::int64_t step) {
  const std::int64_t epoch = (step - 1) / steps_per_epoch();
  if (order_.empty() || (shuffle_ && epoch != epoch_)) {
    if (shuffle_) {
      order_ = permutation(rows_, seed_, epoch);
    } else {
      order_.resize(static_cast<std::size_t>(rows_));
      std::iota(order_.begin(), order_.end(), 0);
    }
    epoch_ = epoch;
  }
  const std::int64_t first = (step - 1) % steps_per_epoch() * batch_size_;
  const std::int64_t end = std::min(rows_, first + batch_size_);
  taken_.assign(order_.begin() + first, order_.begin() + end);
  return taken_;
}

std::vector<std::vector<std::int64_t>> micro_batches(const std::vector<text::TokenRow>& rows,
                                                     const std::vector<std::int64_t>& chosen, std::int64_t max_tokens,
                                                     std::int64_t max_rows) {
  std::vector<std::vector<std::int64_t>> batches;
  std::int64_t tokens = 0;
  for (const std::int64_t row : chosen) {
    const auto size = static_cast<std::int64_t>(rows[static_cast<std::size_t>(row)].ids.size());
    base::expects(size <= max_tokens, "a row fits the token budget");
    const bool full = batches.empty() || tokens + size > max_tokens ||
                      static_cast<std::int64_t>(batches.back().size()) == max_rows;
    if (full) {
      batches.emplace_back();
      tokens = 0;
    }
    batches.back().push_back(row);
    tokens += size;
  }
  return batches;
}

void pack(const std::vector<text::TokenRow>& rows, const std::vector<std::int64_t>& chosen, model::PackedBatch& batch) {
  batch.clear();
  for (const std::int64_t row : chosen)
    batch.append(rows[static_cast<std::size_t>(row)], static_cast<std::uint64_t>(row));
}

}  // namespace finetuned::training
