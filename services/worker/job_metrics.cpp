#include "services/worker/job_metrics.h"

#include <cmath>
#include <cstdio>

namespace finetuned::worker {

namespace {

namespace json = base::json;

constexpr double kNewestWeight = 0.1;

/// JSON has no NaN and no infinity.
json::value finite(double number) { return std::isfinite(number) ? json::value(number) : json::value(nullptr); }

void put(json::object& object, const char* key, const std::optional<double>& number) {
  if (number) object[key] = finite(*number);
}

void put_losses(json::object& data, const training::StepMetrics& step) {
  data["train_loss"] = finite(step.train_loss);
  data["train_mean_token_accuracy"] = finite(step.train_mean_token_accuracy);
  put(data, "valid_loss", step.valid_loss);
  put(data, "valid_mean_token_accuracy", step.valid_mean_token_accuracy);
  put(data, "full_valid_loss", step.full_valid_loss);
  put(data, "full_valid_mean_token_accuracy", step.full_valid_mean_token_accuracy);
}

}  // namespace

json::object event_metrics(const training::StepMetrics& step) {
  json::object data{{"step", step.step}, {"total_steps", step.total_steps}, {"epoch", finite(step.epoch)}};
  put_losses(data, step);
  data["learning_rate"] = finite(step.learning_rate);
  data["grad_norm"] = finite(step.grad_norm);
  data["tokens"] = step.tokens;
  data["trained_tokens"] = step.trained_tokens;
  data["tokens_per_second"] = finite(step.tokens_per_second);
  put(data, "gemm_share", step.gemm_share);
  data["memory_bytes"] = step.memory_bytes;
  return data;
}

json::object checkpoint_metrics(const training::StepMetrics& step) {
  json::object data{{"step", step.step}};
  put_losses(data, step);
  return data;
}

std::string step_message(const training::StepMetrics& step) {
  char text[160];
  int length = std::snprintf(text, sizeof text, "Step %lld/%lld: training loss=%.4f", static_cast<long long>(step.step),
                             static_cast<long long>(step.total_steps), step.train_loss);
  std::string message(text, static_cast<std::size_t>(length));
  const std::optional<double>& valid = step.full_valid_loss ? step.full_valid_loss : step.valid_loss;
  if (!valid) return message;
  length = std::snprintf(text, sizeof text, ", %svalidation loss=%.4f", step.full_valid_loss ? "full " : "", *valid);
  return message.append(text, static_cast<std::size_t>(length));
}

void Pace::add(const training::StepMetrics& step) {
  mean_seconds_ = any_ ? mean_seconds_ + kNewestWeight * (step.seconds - mean_seconds_) : step.seconds;
  steps_left_ = step.total_steps - step.step;
  any_ = true;
}

std::optional<Pace::Seconds> Pace::left() const {
  if (!any_) return std::nullopt;
  return Seconds(mean_seconds_ * static_cast<double>(steps_left_));
}

}  // namespace finetuned::worker
