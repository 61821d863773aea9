#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"

namespace finetuned::cli {

/// What `jobs create` was asked for. Absent settings are left to the platform (`auto`).
struct JobRequest {
  std::string model;
  std::string training_file;
  std::string validation_file;
  std::string suffix;
  std::string payment;  ///< empty: usd
  std::vector<std::string> metadata;  ///< `name=value`
  base::json::object method;  ///< as the API takes it; empty: supervised. The settings below go over its own
  std::optional<std::int64_t> seed, priority, epochs, batch_size, lora_rank, max_seq_length, checkpoint_steps;
  std::optional<double> learning_rate, lora_alpha, lora_dropout, warmup_ratio, weight_decay, max_grad_norm;
  std::string lr_scheduler;
  std::vector<std::string> target_modules;
  bool use_rslora = false;
  bool train_on_inputs = false;
};

/// The body of POST /fine_tuning/jobs. Throws UsageError on metadata without `=`, or on a `method` whose
/// hyperparameters are no object.
base::json::object job_body(const JobRequest& request);

/// A JSON file that holds the API's `method` object. Throws UsageError naming the file.
base::json::object read_method(const std::filesystem::path& file);

}  // namespace finetuned::cli
