#include "trainer/model/packed_batch.h"

#include <algorithm>

#include "base/expects.h"

namespace finetuned::model {

std::int64_t PackedBatch::supervised() const {
  return std::count_if(targets.begin(), targets.end(),
                       [](std::int32_t target) { return target != text::kIgnoreLabel; });
}

void PackedBatch::append(const text::TokenRow& row, std::uint64_t row_key) {
  base::expects(!row.ids.empty() && row.ids.size() == row.labels.size(),
                "a row has tokens, and a label for each");
  for (std::size_t i = 0; i < row.ids.size(); ++i) {
    ids.push_back(row.ids[i]);
    targets.push_back(i + 1 < row.labels.size() ? row.labels[i + 1] : text::kIgnoreLabel);
    positions.push_back(static_cast<std::int32_t>(i));
  }
  cu_seqlens.push_back(static_cast<std::int32_t>(ids.size()));
  row_keys.push_back(row_key);
}

void PackedBatch::clear() {
  ids.clear();
  targets.clear();
  positions.clear();
  cu_seqlens.assign(1, 0);
  row_keys.clear();
}

std::int64_t supervised_positions(const text::TokenRow& row) {
  if (row.labels.empty()) return 0;
  return std::count_if(row.labels.begin() + 1, row.labels.end(),
                       [](std::int32_t label) { return label != text::kIgnoreLabel; });
}

}  // namespace finetuned::model
