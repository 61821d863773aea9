#pragma once

#include <cstdint>
#include <vector>

namespace finetuned::text {

/// A label that is not trained on: its position adds nothing to the loss.
inline constexpr std::int32_t kIgnoreLabel = -100;

/// Token ids of one dataset row and, for each, its label: labels[i] is ids[i] where that token is supervised,
/// else kIgnoreLabel. The shift by one (position i predicts token i + 1) happens inside the loss, as in
/// Hugging Face.
struct TokenRow {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> labels;
};

}  // namespace finetuned::text
