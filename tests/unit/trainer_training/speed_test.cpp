#include "trainer/training/speed.h"

#include <cstring>
#include <gtest/gtest.h>
#include <vector>

namespace finetuned::training {
namespace {

/// Two layers: q and o 16x16, k and v 8x16, gate and up 24x16, down 16x24, and a head of 40x16.
formats::ModelConfig small() {
  return formats::parse_model_config(
      R"({"architectures":["LlamaForCausalLM"],"hidden_act":"silu","hidden_size":16,"intermediate_size":24,)"
      R"("max_position_embeddings":32,"num_attention_heads":4,"num_hidden_layers":2,"num_key_value_heads":2,)"
      R"("rms_norm_eps":1e-5,"tie_word_embeddings":true,"vocab_size":40})",
      "config.json");
}

constexpr double kQkv = 16 * 16 + 2 * 8 * 16, kO = 16 * 16, kGateUp = 2 * 24 * 16, kDown = 16 * 24;
constexpr double kLayer = kQkv + kO + kGateUp + kDown, kHead = 40 * 16;

model::ModelSettings lora(std::vector<std::string> modules) {
  model::ModelSettings settings;
  settings.mode = model::Mode::kLora;
  settings.lora.rank = 4;
  settings.lora.target_modules = std::move(modules);
  return settings;
}

TEST(StepFlops, CountsWhatAnAdapterNeeds) {
  const double a_token = 4 * 2 * kLayer - 2 * kQkv + 6 * 2 * 4 * (16 + 16);
  EXPECT_DOUBLE_EQ(step_flops(small(), lora({"q_proj"}), 100, 100), 100 * (a_token + 4 * kHead));
}

TEST(StepFlops, CountsTheLastLayersKeysAndValuesAloneWhereNothingIsSupervised) {
  const double first = 4 * kLayer - 2 * kQkv + 6 * 4 * (16 + 16), last = 4 * 2 * 8 * 16;
  EXPECT_DOUBLE_EQ(step_flops(small(), lora({"q_proj"}), 100, 0), 100 * (first + last));
  const double of_a_tail = 4 * (kLayer + kHead) - last + 6 * 4 * (16 + 16);
  EXPECT_DOUBLE_EQ(step_flops(small(), lora({"q_proj"}), 100, 30), 100 * (first + last) + 30 * of_a_tail);
}

TEST(StepFlops, LeavesOutGradientsBelowTheLowestAdapter) {
  const double a_token = 4 * 2 * kLayer - 2 * kLayer + 6 * 2 * 4 * (16 + 24) + 4 * kHead;
  EXPECT_DOUBLE_EQ(step_flops(small(), lora({"down_proj"}), 1, 1), a_token);
  const double with_up = 4 * 2 * kLayer - 2 * (kLayer - kDown) + 6 * 2 * 4 * 2 * (16 + 24) + 4 * kHead;
  EXPECT_DOUBLE_EQ(step_flops(small(), lora({"down_proj", "up_proj"}), 1, 1), with_up);
}

TEST(StepFlops, CountsEveryWeightThatIsTrained) {
  model::ModelSettings settings;
  settings.mode = model::Mode::kFull;
  EXPECT_DOUBLE_EQ(step_flops(small(), settings, 10, 10), 10 * 6 * (2 * kLayer + kHead));
}

TEST(Speed, MeasuresTheMatrixProduct) {
  const double gflops = gemm_gflops(tensor::Cpu(1));
  EXPECT_GT(gflops, 0.05);
  EXPECT_LT(gflops, 10'000);
}

TEST(Speed, KnowsTheMostMemoryHeld) {
  std::vector<char> held(std::size_t{64} << 20);
  std::memset(held.data(), 1, held.size());
  EXPECT_GT(peak_memory_bytes(), std::uint64_t{64} << 20);
  EXPECT_EQ(held[12345], 1);
}

}  // namespace
}  // namespace finetuned::training
