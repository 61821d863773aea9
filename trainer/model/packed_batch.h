#pragma once

#include <cstdint>
#include <vector>

#include "trainer/text/token_row.h"

namespace finetuned::model {

/// Rows laid end to end without padding. Attention and positions restart at each row.
struct PackedBatch {
  std::vector<std::int32_t> ids;  ///< [tokens]
  std::vector<std::int32_t>
      targets;  ///< [tokens] the id that follows, where that one is supervised, else kIgnoreLabel
  std::vector<std::int32_t> positions;  ///< [tokens] 0, 1, ... in each row
  std::vector<std::int32_t> cu_seqlens{
      0};  ///< [rows + 1] where each row starts; the last is the number of tokens
  std::vector<std::uint64_t>
      row_keys;  ///< [rows] what dropout knows a row by, e.g. its number in the dataset

  std::int64_t tokens() const { return static_cast<std::int64_t>(ids.size()); }
  std::int64_t rows() const { return static_cast<std::int64_t>(row_keys.size()); }
  std::int64_t supervised() const;  ///< targets other than kIgnoreLabel

  /// Appends a row (>= 1 token), shifting its labels by one: targets[i] = labels[i + 1], and kIgnoreLabel at
  /// its end.
  void append(const text::TokenRow& row, std::uint64_t row_key);
  void clear();  ///< keeps the capacity
};

/// Supervised positions of a row: its labels beyond the first that are not kIgnoreLabel.
std::int64_t supervised_positions(const text::TokenRow& row);

}  // namespace finetuned::model
