#pragma once

#include <cstdint>
#include <vector>

#include "trainer/model/packed_batch.h"
#include "trainer/text/token_row.h"

namespace finetuned::training {

/// Which rows each optimizer step takes: ceil(rows / batch_size) steps an epoch, the last of an epoch with what is left;
/// each epoch in its own order, a function of (seed, epoch).
class Batches {
 public:
  Batches(std::int64_t rows, std::int64_t batch_size, bool shuffle, std::uint64_t seed);

  std::int64_t steps_per_epoch() const;
  /// Row numbers of `step` (1-based; epochs follow each other without end). Valid until the next call.
  const std::vector<std::int64_t>& rows_of(std::int64_t step);

 private:
  std::int64_t rows_;
  std::int64_t batch_size_;
  bool shuffle_;
  std::uint64_t seed_;
  std::int64_t epoch_ = -1;
  std::vector<std::int64_t> order_;
  std::vector<std::int64_t> taken_;
};

/// The numbers 0 .. count - 1 in an order drawn from (seed, epoch) by Fisher and Yates.
std::vector<std::int64_t> permutation(std::int64_t count, std::uint64_t seed, std::int64_t epoch);

/// Cuts `chosen` rows, in order, into runs that fit `max_tokens` and `max_rows`. Each row fits by itself (expects()).
std::vector<std::vector<std::int64_t>> micro_batches(const std::vector<text::TokenRow>& rows,
                                                     const std::vector<std::int64_t>& chosen, std::int64_t max_tokens,
                                                     std::int64_t max_rows);

/// Lays `chosen` rows into `batch`, replacing what it held; a row's key is its number.
void pack(const std::vector<text::TokenRow>& rows, const std::vector<std::int64_t>& chosen, model::PackedBatch& batch);

}  // namespace finetuned::training
