#include <gtest/gtest.h>

#include "base/errors.h"
#include "base/files.h"
#include "tests/unit/trainer_formats/temporary_directory.h"
#include "tests/unit/trainer_training/tiny_base.h"
#include "trainer/training/records.h"
#include "trainer/training/run.h"

namespace finetuned::training {
namespace {

namespace fs = std::filesystem;

class LentResources : public testing::Test {
 protected:
  LentResources() {
    write_tiny_base(base());
    const formats::Weights files = formats::Weights::open(base());
    tensor::AnyDevice device({}, 1);
    weights_ = std::make_unique<model::AnyBase>(device, formats::read_model_config(base()), model::stored_weights(files));
    hashes_ = hash_base(base());
  }

  fs::path base() const { return directory_ / "base"; }

  RunConfig config(const std::string& out) const {
    RunConfig made;
    made.base_directory = base();
    made.out_directory = directory_ / out;
    made.lora_rank = 4;
    made.epochs = 2;
    made.threads = 2;
    return made;
  }

  std::string text(const fs::path& file) const { return base::read_file(directory_.path() / file, 1 << 24); }

  TemporaryDirectory directory_;
  std::unique_ptr<model::AnyBase> weights_;
  FileHashes hashes_;
};

TEST_F(LentResources, AResidentBaseGivesTheSameBytesAndItsFilesAreNotRead) {
  Listener listener;
  run_training(config("own"), tiny_rows(12), {}, listener);
  fs::remove(base() / "model.safetensors");
  const RunResources resources{.base = weights_.get(), .base_hashes = &hashes_, .gemm_gflops = std::nullopt};
  for (const std::string out : {"lent", "lent-again"}) {
    run_training(config(out), tiny_rows(12), {}, listener, resources);
    for (const char* file : {"/adapter_model.safetensors", "/step_metrics.csv", "/manifest.json"})
      EXPECT_EQ(text("own" + std::string(file)), text(out + file)) << file;
  }
}

TEST_F(LentResources, AFullParameterRunReadsItsOwnWeights) {
  RunConfig run = config("full");
  run.full_parameter = true;
  Listener listener;
  const float before = weights_->on<tensor::Cpu>().find("model.norm.weight")[0];
  run_training(run, tiny_rows(12), {}, listener,
               {.base = weights_.get(), .base_hashes = &hashes_, .gemm_gflops = {}});
  EXPECT_EQ(weights_->on<tensor::Cpu>().find("model.norm.weight")[0], before);
}

TEST_F(LentResources, TheShareIsOfTheRateThatIsGiven) {
  Listener without, with;
  run_training(config("without"), tiny_rows(12), {}, without);
  run_training(config("with"), tiny_rows(12), {}, with,
               {.base = nullptr, .base_hashes = nullptr, .gemm_gflops = 1e-3});
  EXPECT_FALSE(without.steps.front().gemm_share);
  ASSERT_TRUE(with.steps.front().gemm_share);
  EXPECT_GT(*with.steps.front().gemm_share, 1)
      << "any machine does better than a million operations a second";
  EXPECT_GT(with.steps.back().memory_bytes, std::uint64_t{1} << 20);
  EXPECT_EQ(text("with/step_metrics.csv"), text("without/step_metrics.csv"));
}

TEST_F(LentResources, ThePlanIsToldWithoutARun) {
  Listener listener;
  const RunPlan plan = plan_training(config("none"), tiny_rows(12), {});
  EXPECT_FALSE(fs::exists(directory_ / "none"));
  run_training(config("run"), tiny_rows(12), {}, listener);
  EXPECT_EQ(plan.total_tokens, listener.plan.total_tokens);
  EXPECT_EQ(plan.memory.size(), listener.plan.memory.size());
  EXPECT_THROW(plan_training(config("none"), {}, {}), base::UsageError);
}

}  // namespace
}  // namespace finetuned::training
