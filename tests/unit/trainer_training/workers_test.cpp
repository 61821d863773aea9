#include <csignal>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "base/files.h"
#include "tests/unit/trainer_collective/loopback.h"
#include "tests/unit/trainer_formats/temporary_directory.h"
#include "tests/unit/trainer_training/tiny_base.h"
#include "trainer/collective/processes.h"
#include "trainer/collective/tcp.h"
#include "trainer/training/fingerprint.h"
#include "trainer/training/output.h"
#include "trainer/training/run.h"
#include "trainer/training/shards.h"
#include "trainer/training/team.h"

namespace finetuned::training {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kLong{60'000};
constexpr const char* kResults[] = {"adapter_model.safetensors", "adapter_config.json", "step_metrics.csv",
                                    "manifest.json"};

RunResources as_one_of(collective::Collective& group, const model::AnyBase* base = nullptr) {
  return {.base = base, .base_hashes = nullptr, .gemm_gflops = std::nullopt, .collective = &group};
}

class Workers : public testing::Test {
 protected:
  Workers() { write_tiny_base(directory_ / "base"); }

  /// 460 rows: about 4,600 positions, so 4 shards a step; the last step of an epoch is a small one of one
  /// shard.
  RunConfig config(const std::string& out) const {
    RunConfig made = tiny_run(directory_.path(), out);
    made.batch_size = 460;
    made.threads = 1;
    return made;
  }

  void train_alone(const RunConfig& run) {
    Listener listener;
    run_training(run, rows_, validation_, listener);
  }

  void train_by(int workers, const RunConfig& run) {
    const formats::ModelConfig base_config = formats::read_model_config(run.base_directory);
    const formats::Weights weights = formats::Weights::open(run.base_directory);
    tensor::AnyDevice device({}, 1);
    const model::AnyBase base(device, base_config, model::stored_weights(weights));
    collective::run_processes(workers, kLong, [&](collective::Collective& group) {
      Listener listener;
      run_training(run, rows_, validation_, listener, as_one_of(group, &base));
    });
  }

  /// Runs `run` alone and by 2, 3 and 8 workers; all files must be the same, byte for byte.
  void expect_same_bytes(RunConfig run, const std::vector<const char*>& files) {
    run.out_directory = directory_ / "alone";
    train_alone(run);
    for (const int workers : {1, 2, 3, 8}) {
      const std::string out = "by-" + std::to_string(workers);
      run.out_directory = directory_ / out;
      train_by(workers, run);
      for (const char* file : files)
        EXPECT_EQ(text("alone", file), text(out, file)) << workers << " workers, " << file;
    }
  }

  std::string text(const std::string& out, const std::string& file) const {
    return base::read_file(directory_.path() / out / file, 1 << 24);
  }

  TemporaryDirectory directory_;
  std::vector<text::TokenRow> rows_ = tiny_rows(486);
  std::vector<text::TokenRow> validation_ = tiny_rows(280, 8);
};

TEST_F(Workers, GiveTheBytesOfOne) {
  expect_same_bytes(config("out"), {std::begin(kResults), std::end(kResults)});
}

TEST_F(Workers, GiveTheBytesOfOneWithDropoutAndManyMicroBatches) {
  RunConfig run = config("out");
  run.lora_dropout = 0.1;
  run.batch_size = 194;
  run.micro_batch_tokens = 130;  // a shard is several
  run.use_rslora = true;
  run.max_steps = 4;
  expect_same_bytes(run, {std::begin(kResults), std::end(kResults)});
}

TEST_F(Workers, GiveTheBytesOfOneWhereEveryWeightIsTrained) {
  RunConfig run = config("out");
  run.full_parameter = true;
  run.micro_batch_tokens = 200;
  run.weight_decay = 0.1;
  run.max_steps = 3;
  expect_same_bytes(run, {"model.safetensors", "step_metrics.csv", "manifest.json"});
}

/// The sum over shards is the gradient of the step's mean loss, as one pass over all its rows gives it.
TEST_F(Workers, AStepOfManyShardsHasTheGradientOfTheWhole) {
  RunConfig run = config("out");
  run.batch_size = 486;
  run.shuffle = false;
  run.max_steps = 1;
  Listener listener;
  run_training(run, rows_, {}, listener);
  model::ModelSettings settings;
  settings.mode = model::Mode::kLora;
  settings.lora.rank = run.lora_rank;
  settings.lora.alpha = run.lora_alpha;
  settings.lora.seed = run.seed;
  settings.lora.target_modules = run.target_modules;
  settings.max_tokens = 8192;
  settings.max_rows = 486;
  const formats::Weights weights = formats::Weights::open(run.base_directory);
  tensor::Cpu device(1);
  model::Transformer<tensor::Cpu> whole(device, formats::read_model_config(run.base_directory), model::stored_weights(weights),
                       settings);
  model::PackedBatch batch;
  for (std::size_t row = 0; row < rows_.size(); ++row)
    batch.append(rows_[row], row);
  ASSERT_GE(batch.tokens(), 4 * kShardTokens);
  const auto sums = whole.accumulate_gradients(batch, 1.0 / static_cast<double>(batch.supervised()), 1);
  EXPECT_NEAR(listener.steps[0].train_loss, sums.loss / static_cast<double>(sums.supervised), 1e-7);
  EXPECT_NEAR(listener.steps[0].grad_norm / whole.gradient_norm(), 1, 1e-5);
}

TEST_F(Workers, OfSeveralMachinesGiveTheSameBytes) {
  const RunConfig run = config("alone");
  train_alone(run);
  const std::uint16_t port = collective::free_port();
  for (const int size : {2, 3}) {
    const std::string out = "tcp-" + std::to_string(size);
    const auto work = [&](int rank) {
      RunConfig mine = config(out);
      if (rank != 0) mine.out_directory = directory_ / "of-another-rank";
      collective::TcpOptions options;
      options.rendezvous = {"127.0.0.1", port};
      options.rank = rank;
      options.size = size;
      const auto group = collective::join(options);
      collective::agree(*group, run_fingerprint(mine, rows_, validation_));
      Listener listener;
      run_training(mine, rows_, validation_, listener, as_one_of(*group));
      if (rank != 0 && !listener.steps.empty()) throw std::runtime_error("rank 0 alone observes");
    };
    collective::Others others(size, work);
    work(0);
    EXPECT_THAT(others.statuses(), testing::Each(0));
    for (const char* file : kResults)
      EXPECT_EQ(text("alone", file), text(out, file)) << size << " ranks, " << file;
    EXPECT_FALSE(fs::exists(directory_ / "of-another-rank")) << "rank 0 alone writes";
  }
}

/// Any worker's request stops all after the same whole step.
TEST_F(Workers, StopTogether) {
  RunConfig run = config("stopped");
  run.batch_size = 60;
  run.lr_scheduler = LrScheduler::kConstant;
  run.validation_steps = 1000;
  RunResult result;
  collective::run_processes(2, kLong, [&](collective::Collective& group) {
    Listener listener(group.rank() == 1 ? 3 : 0);
    result = run_training(run, rows_, {}, listener, as_one_of(group));
  });
  EXPECT_TRUE(result.stopped);
  ASSERT_GT(result.last.step, 0);
  RunConfig exact = run;
  exact.max_steps = result.last.step;
  exact.out_directory = directory_ / "exact";
  Listener listener;
  run_training(exact, rows_, {}, listener);
  EXPECT_EQ(text("stopped", "adapter_model.safetensors"), text("exact", "adapter_model.safetensors"));
}

TEST_F(Workers, WithDifferentResultsEndTheRun) {
  const auto failure = [](double of_rank_2) -> std::string {
    try {
      collective::run_processes(3, kLong, [&](collective::Collective& group) {
        Team(&group).hold_equal(group.rank() == 2 ? of_rank_2 : 0.0, "the norm", 7);
      });
    } catch (const collective::PeerLost& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_EQ(failure(0.0), "");
  EXPECT_THAT(failure(-0.0), HasSubstr("rank 2 of 3 has come to another result than rank 0: the norm at step 7 differs"));
}

TEST_F(Workers, AKilledOneIsOneErrorAndNothingHalfMade) {
  const RunConfig run = config("out");
  struct Killed final : RunObserver {
    int asked = 0;
    void on_plan(const RunPlan&) override {}
    void on_step(const StepMetrics&) override {}
    void on_checkpoint(const CheckpointWritten&) override {}
    bool stop_requested() override {
      if (++asked == 3) raise(SIGKILL);
      return false;
    }
  };
  try {
    collective::run_processes(2, kLong, [&](collective::Collective& group) {
      Listener listener;
      Killed killed;
      RunObserver& mine = group.rank() == 1 ? static_cast<RunObserver&>(killed) : listener;
      run_training(run, rows_, {}, mine, as_one_of(group));
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const collective::PeerLost& error) {
    EXPECT_THAT(error.what(), HasSubstr("rank 1 of 2"));
  }
  EXPECT_FALSE(fs::exists(directory_ / "out/adapter_model.safetensors"));
}

/// What workers share and what they have each of their own is in the plan, by name.
TEST_F(Workers, ArePlannedTogether) {
  RunConfig run = config("out");
  const RunPlan one = plan_training(run, rows_, validation_, 1), three = plan_training(run, rows_, validation_, 3);
  const auto bytes = [](const RunPlan& plan, const std::string& name) {
    std::uint64_t sum = 0;
    for (const auto& line : plan.memory)
      if (line.name == name) sum += line.bytes;
    return sum;
  };
  EXPECT_EQ(bytes(three, "frozen weights"), bytes(one, "frozen weights"));
  const RunPlan apart = plan_training(run, rows_, validation_, 3, true, false);
  EXPECT_EQ(bytes(apart, "frozen weights"), 3 * bytes(one, "frozen weights")) << "where each reads its own";
  EXPECT_EQ(bytes(three, "dataset rows"), 2 * bytes(one, "dataset rows")) << "one more than workers: the caller's";
  EXPECT_EQ(bytes(three, "activations"), 3 * bytes(one, "activations"));
  EXPECT_EQ(bytes(one, "gradient shards"), bytes(one, "gradients"));
  EXPECT_EQ(bytes(three, "gradient shards"), bytes(three, "gradients")) << "of 4 shards one worker has two";
  EXPECT_GT(bytes(three, "exchange between workers"), 0u);
  std::uint64_t all = 0;
  for (const auto& line : one.memory)
    all += line.bytes;
  run.memory_limit_bytes = all + 100'000;
  EXPECT_NO_THROW(plan_training(run, rows_, validation_, 1));
  EXPECT_THROW(plan_training(run, rows_, validation_, 3), base::UsageError);
  EXPECT_FALSE(fs::exists(directory_ / "out"));
}

TEST_F(Workers, DifferInWhatMattersAlone) {
  const RunConfig run = config("out");
  const auto with = [&](auto change) {
    RunConfig other = run;
    change(other);
    return collective::differences(run_fingerprint(run, rows_, validation_),
                                   run_fingerprint(other, rows_, validation_));
  };
  EXPECT_EQ(with([](RunConfig& r) { r.threads = 7, r.out_directory = "elsewhere", r.base_name = "b"; }), "");
  EXPECT_EQ(with([](RunConfig& r) { r.learning_rate *= 1.0000001; }), "the settings");
  EXPECT_EQ(with([](RunConfig& r) { r.target_modules.pop_back(); }), "the settings");
  EXPECT_EQ(with([&](RunConfig& r) {
              write_tiny_base(directory_ / "other", 2);
              r.base_directory = directory_ / "other";
            }),
            "the base");
  EXPECT_EQ(collective::differences(run_fingerprint(run, rows_, validation_),
                                    run_fingerprint(run, validation_, {})),
            "the training rows, the validation rows");
}

}  // namespace
}  // namespace finetuned::training
