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

/// `rows`, cut to `most_tokens`. Throws UsageError, naming the row (1-based) of `kind`, for one that cannot be
/// trained on: too short, a token beyond the vocabulary, labels of another length or value, nothing supervised.
std::vector<text::TokenRow> cut_rows(std::vector<text::TokenRow> rows, const char* kind, std::int64_t most_tokens,
                                     const formats::ModelConfig& base);

/// Who carries a run out.
struct Workforce {
  int workers = 1;
  int local = 1;                   ///< of them, those that share this machine's memory, each with its own copy of all but
  bool shared_base = false;        ///< the frozen weights, where this says so
  std::uint64_t shared_bytes = 0;  ///< what they exchange sums through
};

/// A run as it will be carried out.
struct Plan {
  RunPlan told;                    ///< what the observer hears
  model::ModelSettings settings;
  std::int64_t steps_per_epoch = 0;
  std::int64_t validation_steps = 0;
};

/// Counts steps and tokens, sizes the micro-batch and the memory, which is that of all workers of this machine. Throws
/// UsageError with the figures where the run cannot fit. `training` and `validation` are cut already.
Plan make_plan(const RunConfig& config, const formats::ModelConfig& base, const std::vector<text::TokenRow>& training,
               const std::vector<text::TokenRow>& validation, const Workforce& workforce = {});

}  // namespace finetuned::training
