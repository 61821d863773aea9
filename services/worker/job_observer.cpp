#include "services/worker/job_observer.h"

#include "base/expects.h"
#include "base/log.h"
#include "billing/donations.h"
#include "billing/usage.h"
#include "services/worker/job_config.h"
#include "services/worker/job_results.h"

namespace finetuned::worker {

namespace {

using postgres::Transaction;

storage::NewEvent message(std::string text) {
  storage::NewEvent event;
  event.message = std::move(text);
  return event;
}

}  // namespace

JobObserver::JobObserver(JobLink& link, objects::ObjectStore& store, Options options, std::stop_token stop)
    : link_(link), store_(store), options_(std::move(options)), stop_(std::move(stop)) {}

void JobObserver::on_plan(const training::RunPlan& plan) {
  link_.set_layout({plan.micro_batch_tokens, plan.recompute});
  std::uint64_t bytes = 0;
  for (const auto& line : plan.memory) bytes += line.bytes;
  link_.post(message("Training " + std::to_string(plan.trainable_parameters) + " parameters for " +
                     std::to_string(plan.total_steps) + " steps on " + std::to_string(plan.total_tokens) +
                     " tokens, in " + tensor::megabytes(bytes) + " of memory" +
                     (plan.recompute ? ", computing each layer again on the way back" : "")),
             {.step = 0, .total_steps = plan.total_steps, .trained_tokens = 0, .left = std::nullopt});
}

void JobObserver::on_resume(const std::vector<training::StepMetrics>& taken) {
  const training::StepMetrics& last = taken.back();
  link_.post(message("The run goes on after step " + std::to_string(last.step)),
             {.step = last.step, .total_steps = last.total_steps, .trained_tokens = last.trained_tokens, .left = std::nullopt});
  for (const training::StepMetrics& step : taken) {
    count(step);
    weigh_validation(step);
  }
}

void JobObserver::begins_anew(const std::string& why) {
  options_.told_steps = 0;  // its steps may come out otherwise
  if (const auto& stretch = link_.stretch()) {
    const auto begin = [&](Transaction& tx) { return storage::DonationEvidence(tx).begin_anew(*stretch), true; };
    link_.write(begin, [](Transaction&) { return false; });  // beginning again is harmless
  }
  storage::NewEvent event = message("The job begins anew: " + why);
  event.level = storage::EventLevel::kWarn;
  link_.post(std::move(event));
}

/// A run that begins anew takes its first step again.
void JobObserver::count(const training::StepMetrics& step) {
  const auto before = static_cast<std::size_t>(step.step - 1);
  const std::lock_guard lock(mutex_);
  base::expects(step.step >= 1 && before <= tokens_after_.size(), "steps come one after another");
  tokens_after_.resize(before);
  tokens_after_.push_back(step.trained_tokens);
}

std::vector<std::int64_t> JobObserver::tokens_after(std::int64_t steps) const {
  const std::lock_guard lock(mutex_);
  base::expects(steps >= 0 && static_cast<std::size_t>(steps) <= tokens_after_.size(), "steps are counted before they are paid");
  return {tokens_after_.begin(), tokens_after_.begin() + steps};
}

void JobObserver::on_step(const training::StepMetrics& step) {
  count(step);
  pace_.add(step);
  const Progress progress{.step = step.step,
                          .total_steps = step.total_steps,
                          .trained_tokens = step.trained_tokens,
                          .left = pace_.left()};
  if (step.step > options_.told_steps) {
    storage::NewEvent event = message(step_message(step));
    event.is_metrics = true;
    event.data = event_metrics(step);
    link_.post(std::move(event), progress);
  } else {
    link_.report(progress);
  }
  watch_validation(step);
}

void JobObserver::weigh_validation(const training::StepMetrics& step) {
  if (!step.full_valid_loss) return;
  if (*step.full_valid_loss < best_valid_loss_) {
    best_valid_loss_ = *step.full_valid_loss;
    epochs_without_better_ = 0;
  } else {
    ++epochs_without_better_;
  }
}

void JobObserver::watch_validation(const training::StepMetrics& step) {
  if (!options_.early_stopping_patience || !step.full_valid_loss) return;
  weigh_validation(step);
  if (epochs_without_better_ >= *options_.early_stopping_patience && step.step < step.total_steps) {
    stopped_early_ = true;
    link_.post(message("Stopping early: the validation loss has not improved for " +
                       std::to_string(epochs_without_better_) + " epochs"));
  }
}

void JobObserver::on_checkpoint(const training::CheckpointWritten& written) {
  storage::NewCheckpoint checkpoint;
  checkpoint.step = written.at.step;
  checkpoint.trained_tokens = written.at.trained_tokens;
  checkpoint.model_name = checkpoint_model_name(options_.model_name, written.at.step);
  checkpoint.metrics = checkpoint_metrics(written.at);
  try {
    for (const char* name : {"adapter_model.safetensors", "adapter_config.json"}) {
      const auto stored = objects::store_file(store_, written.directory / name);
      checkpoint.objects[name] = stored.id;
      checkpoint.sha256[name] = stored.sha256;
    }
  } catch (...) {
    forget(checkpoint);
    throw;
  }
  const std::string adapter_sha256 = checkpoint.sha256.at("adapter_model.safetensors");
  link_.flush();
  const std::vector<std::int64_t> paid = tokens_after(checkpoint.step);  // the run may be further by now
  bool already_there = false;
  int tries = 0;
  const std::vector<storage::NewEvent> events{message("Checkpoint created at step " + std::to_string(checkpoint.step))};
  const auto add = [&](Transaction& tx) {
    ++tries;
    storage::JobLeases leases(tx);
    if (!leases.add_checkpoint(link_.lease(), checkpoint, &already_there)) return false;
    link_.tell(tx, {storage::Evidence::Kind::kCheckpoint, checkpoint.step, checkpoint.trained_tokens, adapter_sha256, std::nullopt});
    if (link_.stretch()) billing::earn(tx, *link_.stretch(), paid);
    billing::book_usage(tx, link_.lease().job_id, link_.lease().epoch, paid);
    return already_there || leases.append_events(link_.lease(), events);
  };
  link_.write(add, [](Transaction&) { return false; });  // adding it again is harmless
  // An earlier attempt made this checkpoint: its objects stand. (After a retry they may be these.)
  if (already_there && tries == 1) forget(checkpoint);
}

/// Objects that no row names.
void JobObserver::forget(const storage::NewCheckpoint& checkpoint) {
  for (const auto& [name, object] : checkpoint.objects) {
    try {
      store_.remove(object);
    } catch (const std::exception& error) {
      base::log_warn("an unused checkpoint stays on disk", {{"job", link_.lease().job_id}, {"object", object}, {"why", error.what()}});
    }
  }
}

void JobObserver::on_state(const training::StateWritten& written) {
  publish_state(link_, store_, options_.project_id, written);
}

bool JobObserver::stop_requested() {
  return stopped_early_ || stop_.stop_requested() || link_.cancel_requested() || link_.pause_requested() ||
         link_.preempt_requested() || link_.lost();
}

}  // namespace finetuned::worker
