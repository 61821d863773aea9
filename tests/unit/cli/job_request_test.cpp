#include "services/cli/job_request.h"

#include <gtest/gtest.h>

#include "base/errors.h"

namespace finetuned::cli {
namespace {

TEST(JobBody, LeavesOutWhatWasNotAsked) {
  JobRequest request;
  request.model = "demo";
  request.training_file = "file-1";
  EXPECT_EQ(base::json::value(job_body(request)),
            base::parse_json(R"({"model":"demo","training_file":"file-1",
                                 "method":{"type":"supervised","supervised":{"hyperparameters":{}}}})"));
}

TEST(JobBody, CarriesEverySetting) {
  JobRequest request;
  request.model = "demo";
  request.training_file = "file-1";
  request.validation_file = "file-2";
  request.suffix = "claims";
  request.metadata = {"team=blue", "note=a=b"};
  request.seed = 7;
  request.priority = -2;
  request.epochs = 3;
  request.batch_size = 4;
  request.learning_rate = 0.001;
  request.lora_rank = 8;
  request.lora_alpha = 16;
  request.lora_dropout = 0;
  request.max_seq_length = 128;
  request.warmup_ratio = 0.1;
  request.weight_decay = 0.01;
  request.max_grad_norm = 1;
  request.checkpoint_steps = 10;
  request.lr_scheduler = "cosine";
  request.target_modules = {"q_proj", "v_proj"};
  request.use_rslora = true;
  request.train_on_inputs = true;
  EXPECT_EQ(base::json::value(job_body(request)), base::parse_json(R"({
    "model":"demo","training_file":"file-1","validation_file":"file-2","suffix":"claims","seed":7,"priority":-2,
    "metadata":{"team":"blue","note":"a=b"},
    "method":{"type":"supervised","supervised":{"hyperparameters":{
      "n_epochs":3,"batch_size":4,"learning_rate":0.001,"lora_rank":8,"lora_alpha":16.0,"lora_dropout":0.0,
      "max_seq_length":128,"warmup_ratio":0.1,"weight_decay":0.01,"max_grad_norm":1.0,"checkpoint_steps":10,
      "lr_scheduler":"cosine","target_modules":["q_proj","v_proj"],"use_rslora":true,"train_on_inputs":true}}}})"));
}

TEST(JobBody, TakesAMethodAndLetsSettingsGoOverIt) {
  JobRequest request;
  request.model = "demo";
  request.training_file = "file-1";
  request.method =
      base::parse_json(
          R"({"type":"supervised","supervised":{"hyperparameters":{"n_epochs":6,"lora_rank":16}}})")
          .as_object();
  request.epochs = 2;
  EXPECT_EQ(job_body(request)["method"],
            base::parse_json(
                R"({"type":"supervised","supervised":{"hyperparameters":{"n_epochs":2,"lora_rank":16}}})"));
}

TEST(JobBody, RefusesAMethodThatIsNone) {
  JobRequest request;
  request.method["type"] = 1;
  EXPECT_THROW(job_body(request), base::UsageError);
  request.method["type"] = "supervised";
  request.method["supervised"] = "x";
  EXPECT_THROW(job_body(request), base::UsageError);
  EXPECT_THROW(read_method("no/such/file.json"), base::UsageError);
}

TEST(JobBody, RefusesMetadataWithoutAName) {
  JobRequest request;
  request.metadata = {"=x"};
  EXPECT_THROW(job_body(request), base::UsageError);
  request.metadata = {"x"};
  EXPECT_THROW(job_body(request), base::UsageError);
}

}  // namespace
}  // namespace finetuned::cli
