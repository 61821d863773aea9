#include "services/worker/job_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"

namespace finetuned::worker {
namespace {

namespace json = base::json;

TEST(JobConfig, TakesEveryResolvedSetting) {
  const json::object settings{{"n_epochs", 4},
                              {"batch_size", 16},
                              {"learning_rate", 2e-4},
                              {"learning_rate_multiplier", 1},
                              {"lora_rank", 16},
                              {"lora_alpha", 32},
                              {"lora_dropout", 0.1},
                              {"target_modules", json::array{"q_proj", "v_proj"}},
                              {"use_rslora", true},
                              {"warmup_ratio", 0.03},
                              {"lr_scheduler", "cosine"},
                              {"weight_decay", 0.01},
                              {"max_grad_norm", 0},
                              {"max_seq_length", 64},
                              {"train_on_inputs", true},
                              {"early_stopping_patience", 2},
                              {"checkpoint_steps", 50}};
  const JobConfig config = job_config(settings, 42, 256);
  EXPECT_EQ(config.run.epochs, 4);
  EXPECT_EQ(config.run.batch_size, 16);
  EXPECT_DOUBLE_EQ(config.run.learning_rate, 2e-4);
  EXPECT_EQ(config.run.lora_rank, 16);
  EXPECT_DOUBLE_EQ(config.run.lora_alpha, 32);
  EXPECT_DOUBLE_EQ(config.run.lora_dropout, 0.1);
  EXPECT_THAT(config.run.target_modules, testing::ElementsAre("q_proj", "v_proj"));
  EXPECT_TRUE(config.run.use_rslora);
  EXPECT_DOUBLE_EQ(config.run.warmup_ratio, 0.03);
  EXPECT_EQ(config.run.lr_scheduler, training::LrScheduler::kCosine);
  EXPECT_DOUBLE_EQ(config.run.weight_decay, 0.01);
  EXPECT_DOUBLE_EQ(config.run.max_grad_norm, 0);
  EXPECT_EQ(config.run.max_seq_length, 64);
  EXPECT_EQ(config.supervised.max_seq_length, 64);
  EXPECT_TRUE(config.supervised.train_on_inputs);
  EXPECT_EQ(config.early_stopping_patience, 2);
  EXPECT_EQ(config.run.checkpoint_steps, 50);
  EXPECT_EQ(config.run.seed, 42u);
}

TEST(JobConfig, LeavesDefaultsWhereNothingIsSaid) {
  const JobConfig config =
      job_config({{"n_epochs", 1}, {"batch_size", "auto"}, {"max_seq_length", nullptr}, {"checkpoint_steps", nullptr}}, 1, 128);
  EXPECT_EQ(config.run.batch_size, training::RunConfig{}.batch_size);
  EXPECT_EQ(config.run.max_seq_length, 128);  // the base's context
  EXPECT_FALSE(config.run.checkpoint_steps);
  EXPECT_FALSE(config.early_stopping_patience);
}

TEST(JobConfig, NeverGoesBeyondTheContext) {
  EXPECT_EQ(job_config({{"n_epochs", 1}, {"max_seq_length", 4096}}, 1, 128).run.max_seq_length, 128);
}

TEST(JobConfig, NamesTheSettingThatIsWrong) {
  const auto fault = [](const json::object& settings) -> std::string {
    try {
      job_config(settings, 1, 128);
    } catch (const base::FormatError& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(fault({{"batch_size", 4}}), testing::HasSubstr("n_epochs"));
  EXPECT_THAT(fault({{"n_epochs", 1}, {"batch_size", "many"}}), testing::HasSubstr("batch_size"));
  EXPECT_THAT(fault({{"n_epochs", 1}, {"batch_size", -3}}), testing::HasSubstr("batch_size"));
  EXPECT_THAT(fault({{"n_epochs", 1}, {"target_modules", "q_proj"}}), testing::HasSubstr("target_modules"));
  EXPECT_THAT(fault({{"n_epochs", 1}, {"lr_scheduler", "stairs"}}), testing::HasSubstr("stairs"));
}

TEST(ModelName, HasOpenAisFiveParts) {
  EXPECT_EQ(fine_tuned_model_name("demo", "local", "claims", "ftjob-AbCdEfGhIjKl"), "ft:demo:local:claims:AbCdEfGh");
  EXPECT_EQ(fine_tuned_model_name("demo", "local", "", "ftjob-AbCdEfGhIjKl"), "ft:demo:local::AbCdEfGh");
  EXPECT_EQ(fine_tuned_model_name("demo", "Acme: Inc", "my tune", "ftjob-AbCdEfGhIjKl"),
            "ft:demo:Acme--Inc:my-tune:AbCdEfGh");
  EXPECT_EQ(checkpoint_model_name("ft:demo:local::AbCdEfGh", 12), "ft:demo:local::AbCdEfGh:ckpt-step-12");
}

}  // namespace
}  // namespace finetuned::worker
