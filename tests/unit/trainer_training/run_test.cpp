#include "trainer/training/run.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <csignal>
#include <cmath>
#include <cstdlib>
#include <sys/resource.h>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "base/sha256.h"
#include "tests/unit/trainer_formats/temporary_directory.h"
#include "tests/unit/trainer_training/tiny_base.h"
#include "trainer/formats/peft.h"

namespace finetuned::training {
namespace {

using testing::HasSubstr;
namespace fs = std::filesystem;
namespace json = base::json;

class TrainingRun : public testing::Test {
 protected:
  TrainingRun() { write_tiny_base(directory_ / "base"); }

  RunConfig config(const std::string& out) const {
    RunConfig made = tiny_run(directory_.path(), out);
    made.threads = 2;
    return made;
  }

  std::string text(const fs::path& file) const { return base::read_file(directory_.path() / file, 1 << 24); }

  std::string refusal(const RunConfig& run, const std::vector<text::TokenRow>& rows) {
    try {
      Listener listener;
      run_training(run, rows, {}, listener);
    } catch (const base::UsageError& error) {
      EXPECT_FALSE(fs::exists(run.out_directory)) << "nothing half-made is left";
      return error.what();
    }
    return "";
  }

  /// The largest difference between two adapters' values.
  double apart(const std::string& a, const std::string& b) {
    const formats::ModelConfig base = formats::read_model_config(directory_ / "base");
    const formats::Adapter one = formats::read_adapter(directory_ / a, base), two = formats::read_adapter(directory_ / b, base);
    double most = 0;
    for (std::size_t i = 0; i < one.pairs.size(); ++i) {
      for (std::size_t at = 0; at < one.pairs[i].a.size(); ++at)
        most = std::max(most, std::fabs(static_cast<double>(one.pairs[i].a[at]) - two.pairs[i].a[at]));
      for (std::size_t at = 0; at < one.pairs[i].b.size(); ++at)
        most = std::max(most, std::fabs(static_cast<double>(one.pairs[i].b[at]) - two.pairs[i].b[at]));
    }
    return most;
  }

  TemporaryDirectory directory_;
};

TEST_F(TrainingRun, LearnsItsRows) {
  RunConfig run = config("out");
  run.epochs = 30;
  run.lora_rank = 8;
  Listener listener;
  const RunResult result = run_training(run, tiny_rows(12), {}, listener);
  EXPECT_FALSE(result.stopped);
  ASSERT_EQ(listener.steps.size(), 90u);
  EXPECT_EQ(listener.plan.total_steps, 90);
  EXPECT_EQ(listener.plan.total_tokens, result.last.trained_tokens);
  EXPECT_GT(listener.plan.memory.size(), 2u);
  EXPECT_LT(result.last.train_loss, 0.6 * listener.steps.front().train_loss);
  EXPECT_DOUBLE_EQ(result.last.epoch, 30);
}

TEST_F(TrainingRun, WritesWhatItPromises) {
  RunConfig run = config("out");
  run.checkpoint_steps = 2;
  run.base_name = "tiny";
  Listener listener;
  const auto rows = tiny_rows(12);
  run_training(run, rows, tiny_rows(5, 8), listener);
  std::vector<std::string> names;
  for (const CheckpointWritten& checkpoint : listener.checkpoints) {
    names.push_back(checkpoint.directory.filename());
    EXPECT_TRUE(fs::exists(checkpoint.directory / "adapter_config.json"));
    EXPECT_TRUE(fs::exists(checkpoint.directory / "adapter_model.safetensors"));
  }
  EXPECT_THAT(names, testing::ElementsAre("step-2", "step-3", "step-4", "step-6"));
  EXPECT_EQ(text("out/step-6/adapter_model.safetensors"), text("out/adapter_model.safetensors"));
  EXPECT_NE(text("out/step-4/adapter_model.safetensors"), text("out/adapter_model.safetensors"));
  for (const auto& entry : fs::recursive_directory_iterator(directory_ / "out"))
    EXPECT_EQ(entry.path().string().find(".tmp"), std::string::npos) << entry.path();
  EXPECT_TRUE(listener.steps[2].full_valid_loss && listener.steps[5].full_valid_loss);
  EXPECT_TRUE(listener.steps[0].valid_loss);
  EXPECT_FALSE(listener.steps[0].full_valid_loss);

  const std::string csv = text("out/step_metrics.csv");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 7);
  const json::value manifest = json::parse(text("out/manifest.json"));
  EXPECT_EQ(manifest.at("results").at("adapter_model.safetensors").as_string(),
            base::sha256_file(directory_ / "out" / "adapter_model.safetensors"));
  EXPECT_EQ(manifest.at("base").at("model.safetensors").as_string(),
            base::sha256_file(directory_ / "base/model.safetensors"));
  EXPECT_EQ(manifest.at("loss_curve").as_array().size(), 6u);
  EXPECT_EQ(manifest.at("seed").as_int64(), 42);
  EXPECT_EQ(json::parse(text("out/adapter_config.json")).at("base_model_name_or_path").as_string(), "tiny");
}

TEST_F(TrainingRun, SameBytesTwiceWhateverTheThreads) {
  RunConfig run = config("one");
  run.lora_dropout = 0.1;
  Listener listener;
  run_training(run, tiny_rows(20), tiny_rows(5, 8), listener);
  for (const auto& [out, threads] : {std::pair<std::string, int>{"again", 2}, {"single", 1}, {"many", 7}}) {
    run.out_directory = directory_ / out;
    run.threads = threads;
    run_training(run, tiny_rows(20), tiny_rows(5, 8), listener);
    for (const char* file : {"/adapter_model.safetensors", "/adapter_config.json", "/step_metrics.csv", "/manifest.json"})
      EXPECT_EQ(text("one" + std::string(file)), text(out + file)) << out << file;
  }
  run.seed = 43;
  run.out_directory = directory_ / "other";
  run_training(run, tiny_rows(20), tiny_rows(5, 8), listener);
  EXPECT_NE(text("one/adapter_model.safetensors"), text("other/adapter_model.safetensors"));
}

TEST_F(TrainingRun, PackedEqualsUnpacked) {
  RunConfig run = config("packed");
  run.lora_dropout = 0.1;
  Listener packed, alone;
  run_training(run, tiny_rows(20), tiny_rows(6, 8), packed);
  run.out_directory = directory_ / "alone";
  run.micro_batch_tokens = 1;  // raised to the longest row: mostly a row at a time
  run_training(run, tiny_rows(20), tiny_rows(6, 8), alone);
  EXPECT_LT(alone.plan.micro_batch_tokens, packed.plan.micro_batch_tokens);
  for (std::size_t i = 0; i < packed.steps.size(); ++i) {
    EXPECT_NEAR(packed.steps[i].train_loss, alone.steps[i].train_loss, 1e-5);
    EXPECT_EQ(packed.steps[i].tokens, alone.steps[i].tokens);
  }
  EXPECT_NEAR(*packed.steps.back().full_valid_loss, *alone.steps.back().full_valid_loss, 1e-5);
  EXPECT_LT(apart("packed", "alone"), 2e-4);  // AdamW turns rounding near zero gradients into steps of its own size
}

TEST_F(TrainingRun, GoesOnFromAnAdapter) {
  RunConfig run = config("first");
  Listener listener;
  run_training(run, tiny_rows(12), {}, listener);
  run.init_adapter = directory_ / "first";
  run.out_directory = directory_ / "second";
  Listener next;
  run_training(run, tiny_rows(12), {}, next);
  EXPECT_LT(next.steps.front().train_loss, listener.steps.front().train_loss);
  RunConfig nothing = run;  // a step so small that nothing moves
  nothing.learning_rate = 1e-30;
  nothing.out_directory = directory_ / "third";
  run_training(nothing, tiny_rows(12), {}, next);
  EXPECT_LT(apart("first", "third"), 1e-12);
  run.lora_alpha = 16;
  run.out_directory = directory_ / "fourth";
  EXPECT_THAT(refusal(run, tiny_rows(12)), HasSubstr("another alpha"));
}

TEST_F(TrainingRun, StopsBetweenMicroBatches) {
  RunConfig run = config("stopped");
  run.micro_batch_tokens = 1;
  Listener whole;
  run_training(run, tiny_rows(12), {}, whole);
  RunConfig again = config("early");
  again.micro_batch_tokens = 1;
  Listener stopped(11);
  const RunResult result = run_training(again, tiny_rows(12), {}, stopped);
  EXPECT_TRUE(result.stopped);
  ASSERT_GT(stopped.steps.size(), 0u);
  ASSERT_LT(stopped.steps.size(), whole.steps.size());
  EXPECT_EQ(result.last.step, static_cast<std::int64_t>(stopped.steps.size()));
  RunConfig exact = config("exact");
  exact.micro_batch_tokens = 1;
  exact.max_steps = result.last.step;
  exact.lr_scheduler = again.lr_scheduler = LrScheduler::kConstant;
  again.out_directory = directory_ / "early2";
  Listener quiet, stopped_again(11);
  run_training(exact, tiny_rows(12), {}, quiet);
  run_training(again, tiny_rows(12), {}, stopped_again);
  EXPECT_EQ(text("early2/adapter_model.safetensors"), text("exact/adapter_model.safetensors"));
  EXPECT_TRUE(json::parse(text("early2/manifest.json")).at("stopped").as_bool());
}

TEST_F(TrainingRun, ACheckpointThatDoesNotFitLeavesNoHalfDirectory) {
  RunConfig run = config("full");
  run.checkpoint_steps = 1;
  run.threads = 1;
  const auto on_a_full_disk = [&] {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit little{1000, 1000};  // bytes of a file, less than an adapter has
    setrlimit(RLIMIT_FSIZE, &little);
    Listener listener;
    try {
      run_training(run, tiny_rows(12), {}, listener);
    } catch (const base::FileError&) {
      std::_Exit(fs::is_empty(run.out_directory) ? 0 : 2);
    }
    std::_Exit(1);
  };
  EXPECT_EXIT(on_a_full_disk(), testing::ExitedWithCode(0), "");
}

TEST_F(TrainingRun, AStopBeforeTheFirstStepLeavesWhatWasThere) {
  const RunConfig run = config("kept");
  Listener listener, at_once(1);
  run_training(run, tiny_rows(12), {}, listener);
  const std::string adapter = text("kept/adapter_model.safetensors"), manifest = text("kept/manifest.json");
  const RunResult result = run_training(run, tiny_rows(20), {}, at_once);
  EXPECT_TRUE(result.stopped);
  EXPECT_EQ(result.last.step, 0);
  EXPECT_EQ(text("kept/adapter_model.safetensors"), adapter);
  EXPECT_EQ(text("kept/manifest.json"), manifest);
}

TEST_F(TrainingRun, WhatTheObserverThrowsEndsTheRun) {
  struct Thrower final : RunObserver {
    void on_plan(const RunPlan&) override {}
    void on_step(const StepMetrics&) override { throw std::runtime_error("enough"); }
    void on_checkpoint(const CheckpointWritten&) override {}
    bool stop_requested() override { return false; }
  } thrower;
  EXPECT_THROW(run_training(config("out"), tiny_rows(12), {}, thrower), std::runtime_error);
}

TEST_F(TrainingRun, ALeftOverCheckpointIsReplaced) {
  fs::create_directories(directory_ / "out/step-3.tmp/deep");
  fs::create_directories(directory_ / "out/step-3");
  base::write_durably(directory_ / "out/step-3/stale", "x");
  Listener listener;
  run_training(config("out"), tiny_rows(12), {}, listener);
  EXPECT_FALSE(fs::exists(directory_ / "out/step-3/stale"));
  EXPECT_FALSE(fs::exists(directory_ / "out/step-3.tmp"));
  EXPECT_TRUE(fs::exists(directory_ / "out/step-3/adapter_model.safetensors"));
}

TEST_F(TrainingRun, MaxStepsCutsEpochsShortOrGoesBeyond) {
  RunConfig run = config("short");
  run.max_steps = 2;
  Listener listener;
  run_training(run, tiny_rows(12), {}, listener);
  EXPECT_EQ(listener.steps.size(), 2u);
  EXPECT_EQ(listener.plan.total_tokens, listener.steps.back().trained_tokens);
  run.max_steps = 10;
  run.out_directory = directory_ / "long";
  Listener longer;
  run_training(run, tiny_rows(12), {}, longer);
  EXPECT_EQ(longer.steps.size(), 10u);
  EXPECT_EQ(longer.plan.total_tokens, longer.steps.back().trained_tokens);
}

TEST_F(TrainingRun, FullParameterGivesAModelToTrainAgain) {
  RunConfig run = config("full");
  run.full_parameter = true;
  run.epochs = 10;
  Listener listener;
  run_training(run, tiny_rows(12), {}, listener);
  EXPECT_LT(listener.steps.back().train_loss, listener.steps.front().train_loss);
  const formats::ModelConfig base = formats::read_model_config(directory_ / "full");
  EXPECT_NO_THROW(formats::check_weights(base, formats::Weights::open(directory_ / "full")));
  RunConfig next = config("adapter");
  next.base_directory = directory_ / "full";
  Listener after;
  run_training(next, tiny_rows(12), {}, after);
  EXPECT_NEAR(after.steps.front().train_loss, listener.steps.back().train_loss, 0.5);
}

TEST_F(TrainingRun, RefusesWhatDoesNotFitWithTheFigures) {
  RunConfig run = config("out");
  run.memory_limit_bytes = 1000;
  EXPECT_THAT(refusal(run, tiny_rows(12)), testing::AllOf(HasSubstr("needs"), HasSubstr("MB"), HasSubstr("may be used")));
}

TEST_F(TrainingRun, ShortMemoryMakesSmallerMicroBatches) {
  RunConfig run = config("wide");
  run.batch_size = 64;
  Listener wide, narrow;
  run_training(run, tiny_rows(64), {}, wide);
  std::uint64_t bytes = 0;
  for (const auto& line : wide.plan.memory) bytes += line.bytes;
  run.memory_limit_bytes = bytes - 50'000;
  run.out_directory = directory_ / "narrow";
  run_training(run, tiny_rows(64), {}, narrow);
  EXPECT_LT(narrow.plan.micro_batch_tokens, wide.plan.micro_batch_tokens);
  EXPECT_NEAR(narrow.steps.back().train_loss, wide.steps.back().train_loss, 1e-4);
}

TEST_F(TrainingRun, WhatDoesNotFitOtherwiseIsComputedAgainToTheSameBits) {
  RunConfig run = config("stored");
  run.micro_batch_tokens = 1;  // raised to the longest row: no smaller one is left
  Listener stored, recomputed;
  run_training(run, tiny_rows(12), {}, stored);
  EXPECT_FALSE(stored.plan.recompute);
  for (const auto& line : stored.plan.memory) run.memory_limit_bytes += line.bytes;
  --run.memory_limit_bytes;
  run.out_directory = directory_ / "recomputed";
  run_training(run, tiny_rows(12), {}, recomputed);
  EXPECT_TRUE(recomputed.plan.recompute);
  EXPECT_EQ(recomputed.plan.micro_batch_tokens, stored.plan.micro_batch_tokens);
  std::uint64_t bytes = 0;
  for (const auto& line : recomputed.plan.memory) bytes += line.bytes;
  EXPECT_LE(bytes, run.memory_limit_bytes);
  const auto adapter = [&](const char* name) {
    return base::read_file(directory_ / name / "adapter_model.safetensors", 1 << 20);
  };
  EXPECT_EQ(adapter("recomputed"), adapter("stored"));
}

TEST_F(TrainingRun, RefusesBadRows) {
  const RunConfig run = config("out");
  auto rows = tiny_rows(3);
  EXPECT_THAT(refusal(run, {}), HasSubstr("no training rows"));
  rows[1].ids[0] = kTinyVocabulary;
  EXPECT_THAT(refusal(run, rows), HasSubstr("training row 2 has token 40"));
  rows = tiny_rows(3);
  rows[2].labels[3] = -5;
  EXPECT_THAT(refusal(run, rows), HasSubstr("row 3 has label -5"));
  rows = tiny_rows(3);
  std::fill(rows[0].labels.begin(), rows[0].labels.end(), text::kIgnoreLabel);
  EXPECT_THAT(refusal(run, rows), HasSubstr("row 1 has no supervised token"));
  rows = tiny_rows(3);
  rows[0].labels.pop_back();
  EXPECT_THAT(refusal(run, rows), HasSubstr("number of labels"));
  EXPECT_THAT(refusal(run, {{{1}, {1}}}), HasSubstr("fewer than 2 tokens"));
}

TEST_F(TrainingRun, RefusesBadSettings) {
  const auto with = [&](auto change) {
    RunConfig run = config("out");
    change(run);
    return refusal(run, tiny_rows(3));
  };
  EXPECT_THAT(with([](RunConfig& r) { r.lora_rank = 0; }), HasSubstr("lora_rank"));
  EXPECT_THAT(with([](RunConfig& r) { r.learning_rate = std::nan(""); }), HasSubstr("learning_rate"));
  EXPECT_THAT(with([](RunConfig& r) { r.batch_size = 0; }), HasSubstr("batch_size"));
  EXPECT_THAT(with([](RunConfig& r) { r.target_modules = {"lm_head"}; }), HasSubstr("lm_head"));
  EXPECT_THAT(with([](RunConfig& r) { r.target_modules = {"q_proj", "q_proj"}; }), HasSubstr("twice"));
  EXPECT_THAT(with([](RunConfig& r) { r.max_seq_length = 33; }), HasSubstr("context of 32"));
  EXPECT_THAT(with([](RunConfig& r) { r.lora_dropout = 1; }), HasSubstr("lora_dropout"));
}

TEST_F(TrainingRun, SaysWhereItDiverged) {
  RunConfig run = config("out");
  run.learning_rate = 1e30;
  Listener listener;
  try {
    run_training(run, tiny_rows(12), {}, listener);
    FAIL();
  } catch (const Diverged& error) {
    EXPECT_THAT(error.what(), testing::AllOf(HasSubstr("at step 2"), HasSubstr("lower the learning rate")));
  }
}

TEST_F(TrainingRun, CutsLongRows) {
  RunConfig run = config("cut");
  run.max_seq_length = 6;
  run.epochs = 1;
  Listener listener;
  run_training(run, tiny_rows(12), {}, listener);
  std::int64_t expected = 0;
  for (const auto& row : tiny_rows(12)) expected += std::min<std::int64_t>(6, static_cast<std::int64_t>(row.ids.size()));
  EXPECT_EQ(listener.plan.total_tokens, expected);
}

/// The last update was never looked at: a run of one step wrote weights that are not numbers and said that it went well.
TEST_F(TrainingRun, NeverWritesWeightsThatAreNotNumbers) {
  RunConfig run = config("out");
  run.learning_rate = 1e300;
  run.max_steps = 1;
  EXPECT_THAT(refusal(run, tiny_rows(12)), HasSubstr("stopped being numbers at step 1"));
}

/// It was found out when the training was over.
TEST_F(TrainingRun, RefusesAnOutputThatCannotBeWrittenBeforeItStarts) {
  base::write_durably(directory_ / "file", "text");
  for (const char* name : {"file", "file/below"}) {
    Listener listener;
    try {
      run_training(config(name), tiny_rows(12), {}, listener);
      ADD_FAILURE() << name << " was taken";
    } catch (const base::UsageError& error) {
      EXPECT_THAT(error.what(), HasSubstr("is not a directory"));
    }
    EXPECT_TRUE(listener.steps.empty());
  }
  EXPECT_EQ(text("file"), "text");
}

/// A full-parameter run into the base's directory replaced the base, and its manifest named the new weights as the base.
TEST_F(TrainingRun, NeverReplacesItsBaseOrInitialAdapter) {
  const std::string weights = text("base/model.safetensors");
  RunConfig run = config("base");
  run.full_parameter = true;
  Listener listener;
  EXPECT_THROW(run_training(run, tiny_rows(12), {}, listener), base::UsageError);
  EXPECT_EQ(text("base/model.safetensors"), weights);
  run_training(config("first"), tiny_rows(12), {}, listener);
  RunConfig second = config("first/.");
  second.init_adapter = directory_ / "first";
  EXPECT_THROW(run_training(second, tiny_rows(12), {}, listener), base::UsageError);
}

}  // namespace
}  // namespace finetuned::training
