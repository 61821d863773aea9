#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/json.h"

namespace finetuned::gateway {

/// The learning rate that a multiplier of 1 stands for: LoRA's usual one.
inline constexpr double kBaseLearningRate = 2e-4;

/// Checks a request's hyperparameters: a JSON object whose keys are those below, each with a value in its bounds,
/// or `auto` or null (both: not given). Throws ApiError 400 (`invalid_value`, `unknown_parameter`) whose param is
/// `path.KEY`. Returns the given ones alone.
base::json::object parse_hyperparameters(const base::json::value& given, const std::string& path);

bool is_hyperparameter(std::string_view name);

/// Fills in what was not given, for a dataset of `rows` examples. Every key is there afterwards:
///
/// | key | kind and bounds | when not given |
/// |---|---|---|
/// | `n_epochs` | integer, 1..50 | auto_epochs(rows) |
/// | `batch_size` | integer, 1..256: rows an optimizer step | auto_batch_size(rows) |
/// | `learning_rate_multiplier` | number, > 0..1000 | 1, or learning_rate / kBaseLearningRate |
/// | `learning_rate` | number, > 0..1; excludes the multiplier | kBaseLearningRate x multiplier |
/// | `lora_rank` | integer, 1..256 | 8 |
/// | `lora_alpha` | number, > 0..4096 | 2 x lora_rank |
/// | `lora_dropout` | number, 0..0.9 | 0 |
/// | `target_modules` | non-empty array of `q_proj` `k_proj` `v_proj` `o_proj` `gate_proj` `up_proj` `down_proj` | all seven |
/// | `use_rslora` | boolean: scale by alpha / sqrt(rank) | false |
/// | `warmup_ratio` | number, 0..0.5: share of the steps | 0 |
/// | `lr_scheduler` | `linear`, `cosine` or `constant` | `linear` |
/// | `weight_decay` | number, 0..1 | 0 |
/// | `max_grad_norm` | number, 0..1000; 0: no clipping | 1 |
/// | `max_seq_length` | integer, 2..2^20: longer rows are cut there | null: rows beyond the context are refused |
/// | `train_on_inputs` | boolean: learn every token, not the answers alone | false |
/// | `early_stopping_patience` | integer, 1..50: epochs without a better validation loss | null: never |
/// | `checkpoint_steps` | integer, 1..10^6 | null: one checkpoint an epoch |
base::json::object resolve_hyperparameters(const base::json::object& given, std::int64_t rows);

/// 3; for less than 34 rows as many as give 100 examples, at most 25; for more than 8333 as many as give 25000, at
/// least 1. OpenAI's rule. rows >= 1.
std::int64_t auto_epochs(std::int64_t rows);

/// rows / 64, between 1 and 32: some 64 steps an epoch or more, so that small datasets still get enough updates.
std::int64_t auto_batch_size(std::int64_t rows);

}  // namespace finetuned::gateway
