// Whole runs, and answers, on the emulated GPU.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <algorithm>
#include <cmath>
#include <set>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "tests/cuda_emulator/emulator.h"
#include "tests/unit/trainer_formats/temporary_directory.h"
#include "tests/unit/trainer_training/tiny_base.h"
#include "trainer/collective/processes.h"
#include "trainer/generate/any_model.h"
#include "trainer/training/gradient_sum.h"
#include "trainer/training/plan.h"

namespace finetuned::training {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr tensor::DeviceSpec kGpu{tensor::DeviceSpec::Kind::kCuda, 0};

class OnGpu : public testing::Test {
 protected:
  OnGpu() { write_tiny_base(directory_ / "base"); }

  RunConfig config(const std::string& out, const tensor::DeviceSpec& device = kGpu) const {
    RunConfig made = tiny_run(directory_.path(), out);
    made.device = device;
    made.threads = 1;
    made.epochs = 1;
    made.batch_size = 4;
    return made;
  }

  std::vector<StepMetrics> run(const RunConfig& config, const RunResources& resources = {}) const {
    Listener listener;
    run_training(config, rows_, validation_, listener, resources);
    return listener.steps;
  }

  std::string text(const std::string& file) const { return base::read_file(directory_ / file, 1 << 24); }

  TemporaryDirectory directory_;
  std::vector<text::TokenRow> rows_ = tiny_rows(16);
  std::vector<text::TokenRow> validation_ = tiny_rows(3, 9);
};

TEST_F(OnGpu, ARunFollowsTheProcessorsLosses) {
  const auto gpu = run(config("gpu")), cpu = run(config("cpu", {}));
  ASSERT_EQ(gpu.size(), cpu.size());
  for (std::size_t i = 0; i < gpu.size(); ++i) {
    EXPECT_NEAR(gpu[i].train_loss, cpu[i].train_loss, 1e-2) << "step " << i + 1;
    EXPECT_NEAR(gpu[i].grad_norm / cpu[i].grad_norm, 1, 3e-2) << "step " << i + 1;
  }
  EXPECT_NEAR(*gpu.back().full_valid_loss, *cpu.back().full_valid_loss, 1e-2);
  EXPECT_THAT(text("gpu/manifest.json"), HasSubstr("cuda-sm_90 emulated"));
}

TEST_F(OnGpu, ARunGivesTheSameBytesTwiceAndOnAResidentBase) {
  RunConfig twice = config("first");
  twice.lora_dropout = 0.1;
  run(twice);
  twice.out_directory = directory_ / "second";
  cuda_emulator::set_seed(7);  // another interleaving of the threads
  run(twice);
  twice.out_directory = directory_ / "resident";
  const formats::Weights weights = formats::Weights::open(twice.base_directory);
  tensor::AnyDevice device(kGpu, 1);
  const model::AnyBase base(device, formats::read_model_config(twice.base_directory), model::stored_weights(weights));
  EXPECT_EQ(base.bytes(), model::AnyBase::planned_bytes(kGpu, base.config()));
  run(twice, {.base = &base, .base_hashes = nullptr, .gemm_gflops = 1.0});
  for (const char* file : {"adapter_model.safetensors", "adapter_config.json", "step_metrics.csv", "manifest.json"}) {
    EXPECT_EQ(text("first/" + std::string(file)), text("second/" + std::string(file))) << file;
    EXPECT_EQ(text("first/" + std::string(file)), text("resident/" + std::string(file))) << file;
  }
}

TEST_F(OnGpu, AFullParameterRunWritesAModelThatAnswers) {
  RunConfig full = config("full");
  full.full_parameter = true;
  full.max_steps = 2;
  const auto steps = run(full);
  EXPECT_TRUE(std::isfinite(steps.back().train_loss));
  const formats::ModelConfig written = formats::read_model_config(directory_ / "full");
  const std::vector<std::int32_t> prompt{3, 5, 7};
  generate::Request request;
  request.max_tokens = 12;
  std::vector<std::vector<std::int32_t>> answers;
  for (const tensor::DeviceSpec& spec : {kGpu, tensor::DeviceSpec{}}) {
    tensor::AnyDevice device(spec, 1);
    generate::AnyModel model(device, {directory_ / "full", {}}, written, 20, 1);
    answers.push_back(model.generate(prompt, request).ids);
  }
  EXPECT_EQ(answers[0], answers[1]);
}

TEST_F(OnGpu, AnAdapterAnswersInAGroupAsAlone) {
  run(config("tuned"));
  const formats::ModelConfig base = formats::read_model_config(directory_ / "base");
  tensor::AnyDevice device(kGpu, 1);
  generate::AnyModel model(device, {directory_ / "base", directory_ / "tuned"}, base, 24, 3);
  generate::Request request;
  request.max_tokens = 10;
  request.sampling.temperature = 1;
  const std::vector<std::vector<std::int32_t>> texts{{1, 2, 3}, {4}, {5, 6, 7, 8, 9}, {10, 11}};
  std::vector<generate::Prompt> prompts;
  for (const auto& ids : texts) prompts.push_back({ids, request});
  const auto together = model.generate_together(prompts);
  for (std::size_t i = 0; i < texts.size(); ++i)
    EXPECT_EQ(model.generate(texts[i], request).ids, together[i].ids) << "prompt " << i;
}

/// The gradient of a step of five shards, a row each, as `group` (null: this process alone) computes it.
std::vector<float> gradient_of(const RunConfig& run, const std::vector<text::TokenRow>& rows, collective::Collective* group) {
  constexpr std::int64_t kShards = 5;
  model::ModelSettings settings;
  settings.mode = model::Mode::kLora;
  settings.lora.rank = 4;
  settings.lora.target_modules = run.target_modules;
  settings.max_tokens = 32;
  settings.max_rows = 1;
  const formats::Weights weights = formats::Weights::open(run.base_directory);
  tensor::Cuda device;
  model::Transformer<tensor::Cuda> model(device, formats::read_model_config(run.base_directory), model::stored_weights(weights),
                                         settings);
  GradientSum<tensor::Cuda> sum(model, kShards, group);
  const ShardRange mine = group ? shards_of(group->rank(), group->size(), kShards) : ShardRange{0, kShards};
  for (std::int64_t shard = mine.first; shard < mine.end; ++shard) {
    sum.begin_shard(mine, shard);
    model::PackedBatch batch;
    batch.append(rows[static_cast<std::size_t>(shard)], 0);
    model.accumulate_gradients(batch, 0.1, 1);
  }
  sum.finish(mine, kShards);
  std::vector<float> gradient;
  for (const auto& trained : model.trainables()) {
    std::vector<float> part(trained.gradient.size());
    device.copy_out(part.data(), trained.gradient.data(), static_cast<std::int64_t>(part.size()));
    gradient.insert(gradient.end(), part.begin(), part.end());
  }
  return gradient;
}

TEST_F(OnGpu, AShortCacheMakesPromptsWaitAndChangesNoAnswer) {
  const formats::ModelConfig base = formats::read_model_config(directory_ / "base");
  const formats::Weights weights = formats::Weights::open(directory_ / "base");
  tensor::Cuda device;
  model::ModelSettings settings;
  settings.max_tokens = 32;
  settings.max_rows = 4;
  model::Transformer<tensor::Cuda> model(device, base, model::stored_weights(weights), settings);
  generate::Request request;
  request.max_tokens = 6;
  const std::vector<std::vector<std::int32_t>> texts{{1, 2, 3}, {4}, {5, 6}, {7, 8, 9, 10}, {11}};
  std::vector<generate::Prompt> prompts;
  for (const auto& ids : texts) prompts.push_back({ids, request});
  const auto plenty = generate::generate_together(model, std::span<const generate::Prompt>(prompts));
  std::vector<std::size_t> turns;
  generate::Listener listener;
  listener.on_token = [&turns](std::size_t prompt, std::int32_t) { turns.push_back(prompt); };
  const auto scarce = generate::generate_together(model, std::span<const generate::Prompt>(prompts), listener, 1);  // room for one
  EXPECT_TRUE(std::is_sorted(turns.begin(), turns.end())) << "each waits for the one before";
  for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_EQ(plenty[i].ids, scarce[i].ids) << "prompt " << i;
}

TEST(KvCache, GivesPagesAndTakesThemBack) {
  formats::ModelConfig config;
  config.layers = config.kv_heads = 1;
  config.head_dim = 2;
  const tensor::Cuda device;
  const std::uint64_t page = 2 * kernels::kKeyPage * 2 * sizeof(tensor::Bf16);
  model::KvCache<tensor::Cuda> cache(device, config, 3, 200, 5 * page);  // of twelve pages at most
  EXPECT_TRUE(cache.reserve(0, 65));
  EXPECT_TRUE(cache.reserve(1, 130));
  EXPECT_FALSE(cache.reserve(2, 1));
  EXPECT_TRUE(cache.reserve(0, 128)) << "that page is its own already";
  EXPECT_FALSE(cache.reserve(0, 129));
  EXPECT_EQ(cache.pages(0).size(), 2u);
  std::set<std::int64_t> rows;
  for (std::int64_t at = 0; at < 128; ++at) rows.insert(cache.row(0, at));
  for (std::int64_t at = 0; at < 192; ++at) rows.insert(cache.row(1, at));
  EXPECT_EQ(rows.size(), 320u) << "no two tokens lie in one place";
  EXPECT_EQ(*rows.rbegin(), 319);
  cache.clear(1);
  EXPECT_TRUE(cache.reserve(2, 192));
  EXPECT_FALSE(cache.reserve(1, 1));
}

TEST_F(OnGpu, SeveralWorkersSumTheShardsAsOneDoes) {
  const auto alone = gradient_of(config("out"), rows_, nullptr);
  EXPECT_NE(std::count(alone.begin(), alone.end(), 0.0f), static_cast<std::ptrdiff_t>(alone.size()));
  for (const bool on_host : {false, true}) {
    cuda_emulator::share_one_gpu(on_host);  // between GPUs of their own, or by way of the host
    for (const int workers : {2, 3})
      collective::run_processes(workers, std::chrono::seconds(60), [&](collective::Collective& group) {
        const bool equal = gradient_of(config("out"), rows_, &group) == alone;
        EXPECT_TRUE(equal) << workers << " workers";
        const auto all = collective::gather_values(group, equal ? 1 : 0);  // what the children found, rank 0 says
        EXPECT_EQ(std::count(all.begin(), all.end(), 1), workers);
      });
  }
  cuda_emulator::share_one_gpu(false);
}

/// Bfloat16s reach a GPU as they lie in the file; the values are those that go by way of floats.
TEST_F(OnGpu, ABaseStoredInBfloat16IsReadAsItLies) {
  const fs::path stored = directory_ / "stored";
  write_tiny_base(stored, 3, formats::Dtype::kBF16);
  const formats::ModelConfig config = formats::read_model_config(stored);
  const formats::Weights weights = formats::Weights::open(stored);
  const model::WeightSource source = model::stored_weights(weights);
  const model::WeightSource by_floats = [&](const std::string& name, std::span<float> out) { source(name, out); };
  tensor::Cuda device;
  const model::BaseWeights<tensor::Cuda> as_it_lies(device, config, source), converted(device, config, by_floats);
  for (const auto& tensor : formats::expected_tensors(config)) {
    std::int64_t count = 1;
    for (const std::int64_t size : tensor.shape) count *= size;
    EXPECT_FALSE(source.bfloat16(tensor.name, static_cast<std::size_t>(count)).empty());
    std::vector<float> one(static_cast<std::size_t>(count)), other(one.size());
    device.copy_out(one.data(), as_it_lies.find(tensor.name), count);
    device.copy_out(other.data(), converted.find(tensor.name), count);
    EXPECT_EQ(one, other) << tensor.name;
  }
  EXPECT_THROW(source.bfloat16("model.norm.weight", 1), base::FormatError);
}

TEST_F(OnGpu, ThePlanIsOfItsMemoryAndRefusesWhatDoesNotFit) {
  RunConfig planned = config("out");
  const RunPlan plan = plan_training(planned, rows_, validation_);
  std::uint64_t bytes = 0;
  for (const auto& line : plan.memory) {
    bytes += line.bytes;
    EXPECT_NE(line.name, "dataset rows") << "they lie on the host";
  }
  planned.memory_limit_bytes = bytes;
  EXPECT_EQ(plan_training(planned, rows_, validation_).micro_batch_tokens, plan.micro_batch_tokens);
  planned.memory_limit_bytes = tensor::Cuda::kScratchBytes;
  EXPECT_THROW(plan_training(planned, rows_, validation_), base::UsageError);
}

TEST_F(OnGpu, HeadsTooWideForItAreRefused) {
  const std::string config_file = text("base/config.json");
  const std::string wide = R"({"head_dim":160,)" + config_file.substr(1);
  const formats::ModelConfig config = formats::parse_model_config(wide, "config.json");
  model::ModelSettings settings;
  settings.max_tokens = 8;
  settings.max_rows = 1;
  EXPECT_FALSE(model::plan_memory<tensor::Cpu>(config, settings).empty());
  EXPECT_THROW(model::plan_memory<tensor::Cuda>(config, settings), base::UsageError);
}

}  // namespace
}  // namespace finetuned::training
