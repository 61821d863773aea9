#pragma once

#include <cstdint>
#include <vector>

#include "trainer/formats/hf_config.h"
#include "trainer/model/settings.h"
#include "trainer/text/token_row.h"
#include "trainer/training/run.h"

namespace finetuned::training {

/// Throws UsageError for a value outside its bounds, naming it.
void check_config(const RunConfig& config, const formats::ModelConfig& base);

/// The longest row that a run trains on: max_seq_length, or the base's context.
std::int64_t row_limit(const RunConfig& config, const formats::ModelConfig& base);

/// Copies of `rows`, cut to `most_tokens`. Throws UsageError, naming the row (1-based) of `kind`, for one that cannot be
/// trained on: too short, a token beyond the vocabulary, labels of another length or value, nothing supervised.
std::vector<text::TokenRow> cut_rows(const std::vector<text::TokenRow>& rows, const char* kind, std::int64_t most_tokens,
                                     const formats::ModelConfig& base);

/// A run as it will be carried out.
struct Plan {
  RunPlan told;                    ///< what the observer hears
  model::ModelSettings settings;
  std::int64_t steps_per_epoch = 0;
  std::int64_t validation_steps = 0;
};

/// Counts steps and tokens, sizes the micro-batch and the memory. Throws UsageError with the figures where the run cannot
/// fit. `training` and `validation` are cut already.
Plan make_plan(const RunConfig& config, const formats::ModelConfig& base, const std::vector<text::TokenRow>& training,
               const std::vector<text::TokenRow>& validation);

}  // namespace finetuned::training
