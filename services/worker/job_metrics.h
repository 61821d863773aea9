#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "base/json.h"
#include "trainer/training/run.h"

namespace finetuned::worker {

/// `data` of a `metrics` event: step, total_steps, epoch, train_loss, train_mean_token_accuracy, learning_rate,
/// grad_norm, tokens, trained_tokens, tokens_per_second, memory_bytes and, where they were measured, gemm_share,
/// valid_loss, valid_mean_token_accuracy, full_valid_loss, full_valid_mean_token_accuracy. What is not finite is null.
base::json::object event_metrics(const training::StepMetrics& step);

/// `metrics` of a checkpoint, OpenAI's seven: each absent one is left out.
base::json::object checkpoint_metrics(const training::StepMetrics& step);

/// `Step 12/300: training loss=0.4321`, as OpenAI words it, with the validation loss where there is one.
std::string step_message(const training::StepMetrics& step);

/// When a run will end, from the steps it has done. The first steps are slower (allocation, page faults), so that the
/// estimate weighs later ones more.
class Pace {
 public:
  using Seconds = std::chrono::duration<double>;

  void add(const training::StepMetrics& step);
  /// Left from the last added step to the end; absent before the first.
  std::optional<Seconds> left() const;

 private:
  double mean_seconds_ = 0;
  std::int64_t steps_left_ = 0;
  bool any_ = false;
};

}  // namespace finetuned::worker
