#include "trainer/training/run_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/sha256.h"
#include "tests/unit/trainer_formats/temporary_directory.h"
#include "tests/unit/trainer_training/tiny_base.h"
#include "trainer/collective/processes.h"

namespace finetuned::training {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class Resume : public testing::Test {
 protected:
  Resume() { write_tiny_base(directory_ / "base"); }

  RunConfig config(const std::string& out) const {
    RunConfig made = tiny_run(directory_.path(), out);
    made.lora_dropout = 0.1;
    made.validation_steps = 2;
    made.threads = 1;
    return made;
  }

  /// Stops when it is asked for the `stop_at`th time, goes on from there, stops again, until the end. How often it stopped.
  int train_with_stops(RunConfig run, int stop_at) {
    run.state_file = directory_ / "state";
    std::int64_t taken = 0;
    for (int stops = 0; stops < 100; ++stops) {
      Listener listener(stop_at);
      const RunResult result = run_training(run, rows_, validation_, listener);
      if (!result.stopped) return stops;
      if (result.last.step == 0) return -1;  // too early for a state
      if (result.last.step == taken) ++stop_at;  // it would always stop in the same validation
      taken = result.last.step;
      run.resume_from = run.state_file;
    }
    return -1;
  }

  std::string text(const std::string& out, const char* file) const { return base::read_file(directory_.path() / out / file, 1 << 24); }

  void expect_same(const std::string& one, const std::string& other) const {
    for (const char* file : {"adapter_model.safetensors", "adapter_config.json", "step_metrics.csv", "manifest.json"})
      EXPECT_EQ(text(one, file), text(other, file)) << other << ", " << file;
  }

  std::string refusal(RunConfig run, const std::vector<text::TokenRow>& rows) {
    run.resume_from = directory_ / "state";
    Listener listener;
    try {
      run_training(run, rows, validation_, listener);
    } catch (const StateRefused& refused) {
      return refused.what();
    }
    return "";
  }

  TemporaryDirectory directory_;
  std::vector<text::TokenRow> rows_ = tiny_rows(12);
  std::vector<text::TokenRow> validation_ = tiny_rows(5, 8);
};

TEST_F(Resume, GivesTheBytesOfARunThatWasNeverStoppedWhereverItStops) {
  Listener whole;
  run_training(config("whole"), rows_, validation_, whole);
  int most_stops = 0;
  for (int stop_at = 2; stop_at <= 14; ++stop_at) {
    const std::string out = "stopped-" + std::to_string(stop_at);
    const int stops = train_with_stops(config(out), stop_at);
    if (stops < 0) continue;
    most_stops = std::max(most_stops, stops);
    expect_same("whole", out);
  }
  EXPECT_GE(most_stops, 3);
}

TEST_F(Resume, TellsWhatWasTakenBefore) {
  class Hears final : public RunObserver {
   public:
    void on_plan(const RunPlan&) override {}
    void on_resume(const std::vector<StepMetrics>& before) override { taken = before.size(); }
    void on_step(const StepMetrics& step) override { first = std::min(first, step.step); }
    void on_checkpoint(const CheckpointWritten&) override {}
    bool stop_requested() override { return false; }
    std::size_t taken = 0;
    std::int64_t first = 1000;
  } hears;
  RunConfig run = config("out");
  run.state_file = directory_ / "state";
  Listener stops(4);
  const RunResult stopped = run_training(run, rows_, {}, stops);
  ASSERT_TRUE(stopped.stopped);
  run.resume_from = run.state_file;
  const RunResult done = run_training(run, rows_, {}, hears);
  EXPECT_EQ(static_cast<std::int64_t>(hears.taken), stopped.last.step);
  EXPECT_EQ(hears.first, stopped.last.step + 1);
  EXPECT_GT(done.last.trained_tokens, stopped.last.trained_tokens);
}

TEST_F(Resume, IsForEveryWeightToo) {
  RunConfig run = config("whole");
  run.full_parameter = true;
  run.lora_dropout = 0;
  Listener whole;
  run_training(run, rows_, validation_, whole);
  run.out_directory = directory_ / "stopped";
  EXPECT_GE(train_with_stops(run, 9), 1);
  for (const char* file : {"model.safetensors", "step_metrics.csv"}) EXPECT_EQ(text("whole", file), text("stopped", file)) << file;
}

TEST_F(Resume, TakesAnyNumberOfWorkers) {
  rows_ = tiny_rows(460);
  RunConfig run = config("whole");
  run.batch_size = 230;  // two shards a step
  Listener whole;
  run_training(run, rows_, validation_, whole);
  run.out_directory = directory_ / "stopped";
  run.state_file = directory_ / "state";
  Listener stops(5);
  ASSERT_TRUE(run_training(run, rows_, validation_, stops).stopped);
  run.resume_from = run.state_file;
  collective::run_processes(2, std::chrono::seconds(60), [&](collective::Collective& group) {
    Listener listener;
    RunResources resources;
    resources.collective = &group;
    run_training(run, rows_, validation_, listener, resources);
  });
  expect_same("whole", "stopped");
}

TEST_F(Resume, RefusesAnotherRunsState) {
  RunConfig run = config("out");
  run.state_file = directory_ / "state";
  Listener stops(8);
  ASSERT_TRUE(run_training(run, rows_, validation_, stops).stopped);
  EXPECT_THAT(refusal(run, tiny_rows(12, 99)), HasSubstr("the training rows changed since"));
  RunConfig faster = run;
  faster.learning_rate *= 2;
  EXPECT_THAT(refusal(faster, rows_), HasSubstr("the settings changed since"));
  write_tiny_base(directory_ / "base", 2);
  EXPECT_THAT(refusal(run, rows_), HasSubstr("the base changed since"));
}

TEST_F(Resume, RefusesTheStateOfAnotherProgram) {
  RunConfig run = config("out");
  run.state_file = directory_ / "state";
  Listener stops(8);
  ASSERT_TRUE(run_training(run, rows_, validation_, stops).stopped);
  RunState state = read_run_state(run.state_file);
  state.origin.engine = base::sha256_hex("another version");
  write_run_state(run.state_file, state);
  EXPECT_THAT(refusal(run, rows_), HasSubstr("the program or its device changed since"));
}

TEST_F(Resume, RefusesAStateThatDoesNotFitInTheMemoryHere) {
  RunConfig run = config("out");
  run.state_file = directory_ / "state";
  Listener stops(8);
  ASSERT_TRUE(run_training(run, rows_, validation_, stops).stopped);
  run.memory_limit_bytes = 1;
  EXPECT_THAT(refusal(run, rows_), HasSubstr("cannot go on from its state here"));
}

TEST_F(Resume, ARunWhoseStateCannotBeWrittenStopsAsAskedAndSaysSo) {
  RunConfig run = config("out");
  run.state_file = directory_ / "missing" / "state";
  Listener stops(8);
  const RunResult stopped = run_training(run, rows_, validation_, stops);
  EXPECT_TRUE(stopped.stopped);
  EXPECT_GT(stopped.last.step, 0);
  EXPECT_THAT(stopped.state_lost, HasSubstr("missing"));
  EXPECT_FALSE(fs::exists(run.state_file));
}

TEST_F(Resume, TellsEachValidationOnceWhereverItWasBrokenOff) {
  class Counts final : public RunObserver {
   public:
    explicit Counts(int stop_at) : stop_at_(stop_at) {}
    void on_plan(const RunPlan&) override {}
    void on_resume(const std::vector<StepMetrics>& taken) override {
      for (const StepMetrics& step : taken) heard += step.full_valid_loss.has_value();
    }
    void on_step(const StepMetrics& step) override { heard += step.full_valid_loss.has_value(); }
    void on_checkpoint(const CheckpointWritten&) override {}
    bool stop_requested() override { return stop_at_ > 0 && ++asked_ >= stop_at_; }
    int heard = 0;

   private:
    int stop_at_, asked_ = 0;
  };
  Counts whole(0);
  run_training(config("whole"), rows_, validation_, whole);
  ASSERT_GT(whole.heard, 0);
  for (int stop_at = 2; stop_at <= 14; ++stop_at) {
    RunConfig run = config("stopped");
    run.state_file = directory_ / "state";
    Counts before(stop_at), after(0);
    const RunResult stopped = run_training(run, rows_, validation_, before);
    if (!stopped.stopped || stopped.last.step == 0) continue;
    run.resume_from = run.state_file;
    run_training(run, rows_, validation_, after);
    EXPECT_EQ(after.heard, whole.heard) << stop_at;
  }
}

TEST_F(Resume, ARunThatNobodyGoesOnWithTellsEachStepTaken) {
  class Steps final : public RunObserver {
   public:
    explicit Steps(int stop_at) : stop_at_(stop_at) {}
    void on_plan(const RunPlan&) override {}
    void on_resume(const std::vector<StepMetrics>&) override {}
    void on_step(const StepMetrics& step) override { heard.push_back(step.step); }
    void on_checkpoint(const CheckpointWritten&) override {}
    bool stop_requested() override { return ++asked_ >= stop_at_; }
    std::vector<std::int64_t> heard;

   private:
    int stop_at_, asked_ = 0;
  };
  for (int stop_at = 1; stop_at <= 14; ++stop_at) {
    RunConfig run = config("stopped");
    if (stop_at % 2 == 0) run.state_file = directory_ / "missing" / "state";  // cannot be written
    Steps observer(stop_at);
    const RunResult stopped = run_training(run, rows_, validation_, observer);
    EXPECT_EQ(observer.heard.empty() ? 0 : observer.heard.back(), stopped.last.step) << stop_at;
    EXPECT_EQ(static_cast<std::int64_t>(observer.heard.size()), stopped.last.step) << stop_at;
  }
}

TEST_F(Resume, RefusesADamagedState) {
  RunConfig run = config("out");
  run.state_file = directory_ / "state";
  Listener stops(8);
  ASSERT_TRUE(run_training(run, rows_, validation_, stops).stopped);
  const std::string whole = base::read_file(run.state_file, 1 << 24);
  for (std::size_t length = 0; length < whole.size(); length += 97) {
    base::write_durably(run.state_file, whole.substr(0, length));
    EXPECT_NE(refusal(run, rows_), "") << length;
  }
  for (std::size_t at = 8; at < whole.size(); at += 1'009) {  // also where a number is as good as another
    std::string other_bit = whole;
    other_bit[at] = static_cast<char>(other_bit[at] ^ 4);
    base::write_durably(run.state_file, other_bit);
    EXPECT_THAT(refusal(run, rows_), HasSubstr("damaged")) << at;
  }
  std::string other_version = whole;
  ++other_version[0];
  base::write_durably(run.state_file, other_version);
  EXPECT_THAT(refusal(run, rows_), HasSubstr("of another version"));
}

}  // namespace
}  // namespace finetuned::training
