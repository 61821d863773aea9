#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/files.h"
#include "trainer/formats/hf_config.h"
#include "trainer/formats/safetensors.h"
#include "trainer/kernels/counter_rng.h"
#include "trainer/model/weight_source.h"
#include "trainer/text/token_row.h"
#include "trainer/training/run.h"

namespace finetuned::training {

inline constexpr int kTinyVocabulary = 40;

/// Writes a random two-layer Llama into `directory`.
inline void write_tiny_base(const std::filesystem::path& directory, std::uint64_t seed = 1,
                            formats::Dtype dtype = formats::Dtype::kF32) {
  std::filesystem::create_directories(directory);
  const std::string text =
      R"({"architectures":["LlamaForCausalLM"],"hidden_act":"silu","hidden_size":16,"intermediate_size":24,)"
      R"("max_position_embeddings":32,"num_attention_heads":4,"num_hidden_layers":2,"num_key_value_heads":2,)"
      R"("rms_norm_eps":1e-5,"tie_word_embeddings":true,"vocab_size":40})";
  base::write_durably(directory / "config.json", text);
  const formats::ModelConfig config = formats::parse_model_config(text, "config.json");
  const model::WeightSource source = model::fresh_weights(config, seed, 0.2);
  const std::vector<formats::ExpectedTensor> expected = formats::expected_tensors(config);
  std::vector<std::vector<float>> values;
  std::vector<formats::TensorToWrite> tensors;
  values.reserve(expected.size());
  for (const formats::ExpectedTensor& tensor : expected) {
    std::size_t elements = 1;
    for (const std::int64_t size : tensor.shape) elements *= static_cast<std::size_t>(size);
    values.emplace_back(elements);
    source(tensor.name, values.back());
    tensors.push_back({tensor.name, tensor.shape, values.back()});
  }
  formats::write_safetensors(directory / "model.safetensors", std::move(tensors), dtype);
}

/// Two epochs of `directory`/base at rank 4 into `directory`/`out`.
inline RunConfig tiny_run(const std::filesystem::path& directory, const std::string& out) {
  RunConfig made;
  made.base_directory = directory / "base";
  made.out_directory = directory / out;
  made.lora_rank = 4;
  made.lora_alpha = 8;
  made.learning_rate = 5e-3;
  made.epochs = 2;
  made.seed = 42;
  return made;
}

/// `count` random rows of 4 to 16 tokens, the first two of each not supervised.
inline std::vector<text::TokenRow> tiny_rows(int count, std::uint64_t seed = 5) {
  std::vector<text::TokenRow> rows;
  std::uint64_t counter = 0;
  const auto below = [&](int bound) {
    return static_cast<int>(kernels::random_uniform(kernels::random_key(seed), counter++) * bound);
  };
  for (int i = 0; i < count; ++i) {
    text::TokenRow row;
    const int length = 4 + below(13);
    for (int at = 0; at < length; ++at) {
      row.ids.push_back(below(kTinyVocabulary));
      row.labels.push_back(at < 2 ? text::kIgnoreLabel : row.ids.back());
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

/// Remembers what it hears; asks to stop at the `stop_at`-th question (0: never).
class Listener final : public RunObserver {
 public:
  explicit Listener(int stop_at = 0) : stop_at_(stop_at) {}
  void on_plan(const RunPlan& told) override { plan = told; }
  void on_step(const StepMetrics& step) override { steps.push_back(step); }
  void on_checkpoint(const CheckpointWritten& written) override { checkpoints.push_back(written); }
  bool stop_requested() override { return stop_at_ > 0 && ++asked_ >= stop_at_; }

  RunPlan plan;
  std::vector<StepMetrics> steps;
  std::vector<CheckpointWritten> checkpoints;

 private:
  int stop_at_;
  int asked_ = 0;
};

}  // namespace finetuned::training
