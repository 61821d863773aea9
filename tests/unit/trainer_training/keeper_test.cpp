#include "trainer/training/keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/trainer_formats/temporary_directory.h"
#include "tests/unit/trainer_training/tiny_base.h"

namespace finetuned::training {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

struct Killed {};

/// Gives each step's state some time to be told of, and ends the run like a crash after step `dies_after`.
class Watcher final : public RunObserver {
 public:
  explicit Watcher(std::int64_t dies_after = 0) : dies_after_(dies_after) {}

  void on_plan(const RunPlan&) override { run_ = std::this_thread::get_id(); }
  void on_resume(const std::vector<StepMetrics>& taken) override { resumed_after = taken.back().step; }
  void on_step(const StepMetrics& step) override {
    std::unique_lock lock(mutex_);
    told_.wait_for(lock, std::chrono::milliseconds(20), [&] { return !states.empty() && states.back().step >= step.step - 1; });
    if (dies_after_ > 0 && step.step == dies_after_) throw Killed();
  }
  void on_checkpoint(const CheckpointWritten&) override {}
  void on_state(const StateWritten& state) override {
    EXPECT_NE(std::this_thread::get_id(), run_);
    EXPECT_FALSE(telling_.exchange(true)) << "two at a time";
    if (state.lost.empty()) {
      EXPECT_EQ(static_cast<std::int64_t>(read_run_state(state.file).steps.size()), state.step);
    }
    {
      const std::lock_guard lock(mutex_);
      states.push_back(state);
      told_.notify_all();
    }
    telling_ = false;
  }
  bool stop_requested() override { return false; }

  std::int64_t resumed_after = 0;
  std::vector<StateWritten> states;

 private:
  const std::int64_t dies_after_;
  std::thread::id run_;
  std::atomic<bool> telling_ = false;
  std::mutex mutex_;
  std::condition_variable told_;
};

class Keeping : public testing::Test {
 protected:
  Keeping() { write_tiny_base(directory_ / "base"); }

  RunConfig config(const std::string& out) const {
    RunConfig made = tiny_run(directory_.path(), out);
    made.lora_dropout = 0.1;
    made.validation_steps = 2;
    made.threads = 1;
    made.state_file = directory_ / "state";
    made.state_steps = 1;
    return made;
  }
  RunResult train(const RunConfig& run, RunObserver& observer) { return run_training(run, rows_, validation_, observer); }
  std::string text(const std::string& out, const char* file) const { return base::read_file(directory_.path() / out / file, 1 << 24); }

  TemporaryDirectory directory_;
  std::vector<text::TokenRow> rows_ = tiny_rows(12);
  std::vector<text::TokenRow> validation_ = tiny_rows(5, 8);
};

TEST_F(Keeping, ARunThatDiesAfterAnyStepGoesOnToTheSameBytes) {
  Listener whole;
  RunConfig plain = config("whole");
  plain.state_file.clear();
  const std::int64_t steps = train(plain, whole).last.step;
  ASSERT_GT(steps, 5);
  int resumed = 0;
  for (std::int64_t dies_after = 3; dies_after <= steps; ++dies_after) {
    const std::string out = "died-" + std::to_string(dies_after);
    RunConfig run = config(out);
    Watcher first(dies_after);
    EXPECT_THROW(train(run, first), Killed);
    if (first.states.empty()) continue;  // a busy machine
    run.resume_from = run.state_file;
    Watcher second;
    train(run, second);
    EXPECT_EQ(second.resumed_after, first.states.back().step);
    ++resumed;
    for (const char* file : {"adapter_model.safetensors", "adapter_config.json", "step_metrics.csv", "manifest.json"})
      EXPECT_EQ(text("whole", file), text(out, file)) << out << ", " << file;
  }
  EXPECT_GT(resumed, 0);
}

TEST_F(Keeping, KeepsOneEachSoManySteps) {
  RunConfig run = config("out");
  run.state_steps = 2;
  Watcher watcher;
  const std::int64_t steps = train(run, watcher).last.step;
  ASSERT_FALSE(watcher.states.empty());
  std::int64_t before = 0;
  for (const StateWritten& state : watcher.states) {  // later than asked for only while another is being written
    EXPECT_GT(state.step / 2, before / 2);
    EXPECT_LT(state.step, steps);
    EXPECT_EQ(state.lost, "");
    EXPECT_GT(state.trained_tokens, 0);
    before = state.step;
  }
}

TEST_F(Keeping, AStateStillBeingWrittenHoldsNoStepUp) {
  class Slow final : public RunObserver {
   public:
    void on_plan(const RunPlan&) override {}
    void on_step(const StepMetrics& step) override {
      const std::lock_guard lock(mutex_);
      ended_ = step.step == step.total_steps;
      end_.notify_all();
    }
    void on_checkpoint(const CheckpointWritten&) override {}
    void on_state(const StateWritten&) override {  // as long as the run
      std::unique_lock lock(mutex_);
      EXPECT_TRUE(end_.wait_for(lock, std::chrono::seconds(30), [this] { return ended_; }));
      ++states;
    }
    bool stop_requested() override { return false; }
    int states = 0;

   private:
    std::mutex mutex_;
    std::condition_variable end_;
    bool ended_ = false;
  } slow;
  RunConfig run = config("out");
  run.checkpoint_epochs = false;  // a checkpoint would wait for it
  train(run, slow);
  EXPECT_EQ(slow.states, 1);
}

TEST_F(Keeping, ACheckpointIsToldBesideTheRunAndTheNextOneWaitsForIt) {
  class Slow final : public RunObserver {
   public:
    void on_plan(const RunPlan&) override {}
    void on_step(const StepMetrics& step) override {
      const std::lock_guard lock(mutex_);
      reached_ = step.step;
      went_on_.notify_all();
    }
    void on_checkpoint(const CheckpointWritten& written) override {
      std::unique_lock lock(mutex_);
      if (checkpoints.empty()) {
        EXPECT_TRUE(went_on_.wait_for(lock, std::chrono::seconds(30), [&] { return reached_ == written.at.step + 2; }));
        went_on_.wait_for(lock, std::chrono::milliseconds(100));  // long enough for a run that would not wait
      }
      EXPECT_LE(reached_, written.at.step + 2);
      EXPECT_TRUE(fs::exists(written.directory / "adapter_model.safetensors"));
      checkpoints.push_back(written.at.step);
    }
    bool stop_requested() override { return false; }
    std::vector<std::int64_t> checkpoints;

   private:
    std::mutex mutex_;
    std::condition_variable went_on_;
    std::int64_t reached_ = 0;
  } slow;
  RunConfig run = config("out");
  run.state_file.clear();
  run.checkpoint_epochs = false;
  run.checkpoint_steps = 2;
  EXPECT_EQ(train(run, slow).last.step, 6);
  EXPECT_THAT(slow.checkpoints, testing::ElementsAre(2, 4, 6));
}

TEST_F(Keeping, ACheckpointHasTheWeightsOfItsStep) {
  RunConfig slow = config("beside"), plain = config("out");
  slow.checkpoint_steps = plain.max_steps = 2;
  plain.lr_scheduler = slow.lr_scheduler = LrScheduler::kConstant;
  Watcher first;
  Listener second;
  train(slow, first);
  train(plain, second);
  EXPECT_EQ(text("beside/step-2", "adapter_model.safetensors"), text("out", "adapter_model.safetensors"));
}

TEST_F(Keeping, ACheckpointThatFailsEndsTheRun) {
  struct Refuses final : RunObserver {
    void on_plan(const RunPlan&) override {}
    void on_step(const StepMetrics&) override {}
    void on_checkpoint(const CheckpointWritten&) override { throw Killed(); }
    bool stop_requested() override { return false; }
  } refuses;
  RunConfig run = config("out");
  run.state_file.clear();
  EXPECT_THROW(train(run, refuses), Killed);
}

TEST_F(Keeping, WhatCannotBeWrittenIsToldAndTheRunGoesOn) {
  RunConfig run = config("out");
  run.state_file = directory_ / "missing" / "state";
  Watcher watcher;
  EXPECT_FALSE(train(run, watcher).stopped);
  ASSERT_FALSE(watcher.states.empty());
  EXPECT_THAT(watcher.states.front().lost, HasSubstr("missing"));
}

TEST_F(Keeping, WhatTheObserverThrowsEndsTheRun) {
  struct Refuses final : RunObserver {
    void on_plan(const RunPlan&) override {}
    void on_step(const StepMetrics&) override {}
    void on_checkpoint(const CheckpointWritten&) override {}
    void on_state(const StateWritten&) override { throw Killed(); }
    bool stop_requested() override { return false; }
  } refuses;
  EXPECT_THROW(train(config("out"), refuses), Killed);
}

TEST_F(Keeping, ByTimeOneIsKeptAtTheFirstStepBehindIt) {
  class Slow final : public RunObserver {
   public:
    void on_plan(const RunPlan&) override {}
    void on_step(const StepMetrics& step) override {
      if (step.step == 2) std::this_thread::sleep_for(std::chrono::milliseconds(1'100));  // as a long step would take
    }
    void on_checkpoint(const CheckpointWritten&) override {}
    void on_state(const StateWritten& state) override { kept.push_back(state.step); }
    bool stop_requested() override { return false; }
    std::vector<std::int64_t> kept;
  } slow;
  RunConfig run = config("out");
  run.state_steps = 0;
  run.state_seconds = 1;
  train(run, slow);
  ASSERT_FALSE(slow.kept.empty());
  EXPECT_LE(slow.kept.front(), 2);
}

TEST_F(Keeping, ByTimeTheFirstStepIsTooEarly) {
  RunConfig run = config("out");
  run.state_steps = 0;
  run.state_seconds = 3'600;
  Watcher watcher;
  train(run, watcher);
  EXPECT_TRUE(watcher.states.empty());
}

}  // namespace
}  // namespace finetuned::training
