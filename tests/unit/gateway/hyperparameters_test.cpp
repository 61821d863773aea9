#include "services/gateway/hyperparameters.h"

#include <gtest/gtest.h>

#include "base/errors.h"

namespace finetuned::gateway {
namespace {

namespace json = base::json;

json::object resolve(const char* given, std::int64_t rows = 300) {
  return resolve_hyperparameters(parse_hyperparameters(base::parse_json(given), "hyperparameters"), rows);
}

std::string param_refused(const std::string& given) {
  try {
    parse_hyperparameters(base::parse_json(given), "hyperparameters");
  } catch (const base::ApiError& error) {
    EXPECT_EQ(error.status, 400);
    return error.param.value_or("");
  }
  return "accepted";
}

TEST(AutoEpochs, FollowsTheRule) {
  EXPECT_EQ(auto_epochs(1), 25);
  EXPECT_EQ(auto_epochs(4), 25);
  EXPECT_EQ(auto_epochs(10), 10);
  EXPECT_EQ(auto_epochs(33), 3);
  EXPECT_EQ(auto_epochs(34), 3);
  EXPECT_EQ(auto_epochs(8333), 3);
  EXPECT_EQ(auto_epochs(8334), 2);
  EXPECT_EQ(auto_epochs(12501), 1);
  EXPECT_EQ(auto_epochs(1'000'000), 1);
}

TEST(AutoBatchSize, GrowsWithTheDataset) {
  EXPECT_EQ(auto_batch_size(1), 1);
  EXPECT_EQ(auto_batch_size(127), 1);
  EXPECT_EQ(auto_batch_size(300), 4);
  EXPECT_EQ(auto_batch_size(1'000'000), 32);
}

TEST(Hyperparameters, EverythingAutoIsResolved) {
  for (const char* given : {"{}", "null", R"({"n_epochs":"auto","batch_size":"auto","learning_rate_multiplier":"auto"})",
                            R"({"n_epochs":null,"lora_rank":"auto"})"}) {
    const json::object resolved = resolve(given);
    EXPECT_EQ(resolved.at("n_epochs"), 3);
    EXPECT_EQ(resolved.at("batch_size"), 4);
    EXPECT_EQ(resolved.at("learning_rate_multiplier"), 1);
    EXPECT_DOUBLE_EQ(resolved.at("learning_rate").to_number<double>(), kBaseLearningRate);
    EXPECT_EQ(resolved.at("lora_rank"), 8);
    EXPECT_EQ(resolved.at("lora_alpha"), 16);
    EXPECT_EQ(resolved.at("target_modules").as_array().size(), 7u);
    EXPECT_EQ(resolved.at("lr_scheduler"), "linear");
    EXPECT_TRUE(resolved.at("max_seq_length").is_null());
    EXPECT_TRUE(resolved.at("early_stopping_patience").is_null());
    EXPECT_TRUE(resolved.at("checkpoint_steps").is_null());
    EXPECT_EQ(resolved.size(), 17u);
  }
}

TEST(Hyperparameters, GivenValuesStay) {
  const json::object resolved = resolve(
      R"({"n_epochs":5,"batch_size":8,"learning_rate":4e-4,"lora_rank":16,"target_modules":["q_proj","v_proj"],
          "use_rslora":true,"lr_scheduler":"cosine","max_seq_length":128,"checkpoint_steps":10})");
  EXPECT_EQ(resolved.at("n_epochs"), 5);
  EXPECT_DOUBLE_EQ(resolved.at("learning_rate").as_double(), 4e-4);
  EXPECT_DOUBLE_EQ(resolved.at("learning_rate_multiplier").as_double(), 2);
  EXPECT_EQ(resolved.at("lora_alpha"), 32);
  EXPECT_EQ(resolved.at("target_modules").as_array().size(), 2u);
  EXPECT_EQ(resolved.at("use_rslora"), true);
  EXPECT_EQ(resolved.at("max_seq_length"), 128);
  EXPECT_EQ(resolved.at("checkpoint_steps"), 10);
  EXPECT_DOUBLE_EQ(resolve(R"({"learning_rate_multiplier":0.5})").at("learning_rate").as_double(), kBaseLearningRate / 2);
}

TEST(Hyperparameters, BoundsAndKindsAreChecked) {
  const std::string bad[] = {
      R"({"n_epochs":0})", R"({"n_epochs":51})", R"({"n_epochs":1.5})", R"({"n_epochs":"3"})", R"({"n_epochs":-1})",
      R"({"batch_size":257})", R"({"learning_rate_multiplier":0})", R"({"learning_rate_multiplier":1e4})", R"({"learning_rate":2})",
      R"({"learning_rate":true})", R"({"lora_rank":0})", R"({"lora_alpha":0})", R"({"lora_dropout":1})", R"({"target_modules":[]})",
      R"({"target_modules":["lm_head"]})", R"({"target_modules":["q_proj","q_proj"]})", R"({"target_modules":"q_proj"})",
      R"({"use_rslora":1})", R"({"warmup_ratio":0.6})", R"({"lr_scheduler":"step"})", R"({"weight_decay":-0.1})",
      R"({"max_grad_norm":-1})", R"({"max_seq_length":1})", R"({"train_on_inputs":"yes"})", R"({"early_stopping_patience":0})",
      R"({"checkpoint_steps":0})"};
  for (const std::string& given : bad)
    EXPECT_EQ(param_refused(given), "hyperparameters." + given.substr(2, given.find('"', 2) - 2)) << given;
  EXPECT_EQ(param_refused(R"({"lora_r":8})"), "hyperparameters.lora_r");
  EXPECT_EQ(param_refused(R"({"learning_rate":1e-4,"learning_rate_multiplier":2})"), "hyperparameters.learning_rate");
  EXPECT_EQ(param_refused("[]"), "hyperparameters");
}

}  // namespace
}  // namespace finetuned::gateway
