#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "trainer/formats/hf_config.h"
#include "trainer/kernels/cross_entropy.h"
#include "trainer/kernels/gemm.h"
#include "trainer/model/transformer.h"
#include "trainer/training/batches.h"

namespace finetuned::gpu_proof {

/// What an option that is not there, or not understood, ends with.
struct WrongUse : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// `--name value` of the command line.
class Options {
 public:
  explicit Options(std::span<char* const> words);
  std::string text(const std::string& name, const std::string& otherwise) const;
  std::int64_t integer(const std::string& name, std::int64_t otherwise) const;  ///< >= 0
  bool flag(const std::string& name) const;
  /// Throws WrongUse for a word that is neither one of `values` with its value nor one of `flags`.
  void allow(std::initializer_list<const char*> values, std::initializer_list<const char*> flags) const;

 private:
  std::vector<std::string> words_;
};

/// A model of random weights by its name, or nothing: `tiny` and `small` for proofs; in their true shapes
/// `qwen2.5-0.5b`, `qwen2.5-1.5b`, `qwen2.5-7b`, `llama-3-8b`.
formats::ModelConfig config_of(const std::string& name);
/// Uniform values, the norms about 1, copied from a table that is drawn once.
model::WeightSource quick_weights();
/// `count` rows of `tokens` random ids below `vocabulary`, every position supervised.
std::vector<text::TokenRow> random_rows(std::int64_t count, std::int64_t tokens, std::int64_t vocabulary);

/// An optimizer step on all of `rows`, as training/run.cpp takes one of a single shard.
template <class Device>
kernels::LossSums take_step(model::Transformer<Device>& model, const std::vector<text::TokenRow>& rows, std::int64_t step) {
  std::vector<std::int64_t> all(rows.size());
  std::int64_t supervised = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    all[i] = static_cast<std::int64_t>(i);
    supervised += model::supervised_positions(rows[i]);
  }
  kernels::LossSums sums;
  model::PackedBatch batch;
  model.zero_gradients();
  for (const auto& micro : training::micro_batches(rows, all, model.settings().max_tokens, model.settings().max_rows)) {
    training::pack(rows, micro, batch);
    sums += model.accumulate_gradients(batch, 1.0 / static_cast<double>(supervised), step);
  }
  const double norm = model.gradient_norm();
  model.adamw_step({.learning_rate = 2e-3}, step, std::min(1.0, 1 / (norm + 1e-6)));
  return sums;
}

/// As JSON has it; null for what is no number.
std::string number(double value, const char* format = "%.9g");

// The program's commands: each prints lines of JSON, and returns its exit status.
int run_device(const Options& options);
int run_cases(const Options& options);
int run_trajectory(const Options& options);
int run_speed(const Options& options);

}  // namespace finetuned::gpu_proof
