#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"
#include "trainer/text/supervised.h"
#include "trainer/training/run.h"

namespace finetuned::worker {

/// How a job is to be run, read off its stored hyperparameters.
struct JobConfig {
  training::RunConfig run;            ///< without directories and threads: the worker's own
  text::SupervisedOptions supervised;
  std::optional<std::int64_t> early_stopping_patience;  ///< epochs without a better full_valid_loss; absent: never
};

/// `hyperparameters` is the job's resolved object: `n_epochs`, `batch_size`, `learning_rate` and the LoRA extensions of
/// the API. A key that is absent, null or `auto` has RunConfig's default, but `n_epochs`, which must be there.
/// `context` is the base model's. Throws FormatError naming a key whose value is not of its kind.
JobConfig job_config(const base::json::object& hyperparameters, std::int64_t seed, std::int64_t context);

/// `ft:BASE:ORGANIZATION:SUFFIX:ID`, ID being the first eight characters of the job's own; an absent suffix leaves
/// nothing between its colons, as OpenAI does. Characters of the labels other than letters, digits and `._-` become `-`.
std::string fine_tuned_model_name(const std::string& base_model, const std::string& organization,
                                  const std::string& suffix, const std::string& job_id);

/// The model of a checkpoint: `MODEL:ckpt-step-N`.
std::string checkpoint_model_name(const std::string& model, std::int64_t step);

}  // namespace finetuned::worker
