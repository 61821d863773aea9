#include "trainer/training/prepared.h"

#include "base/errors.h"
#include "trainer/model/transformer.h"
#include "trainer/training/output.h"

namespace finetuned::training {

namespace {

using Rows = std::vector<text::TokenRow>;

/// Workers whose memory differs take the smallest micro-batch of any of them: their sums are of the same micro-batches.
Plan agreed_plan(const RunConfig& config, const formats::ModelConfig& base, const Rows& training, const Rows& validation,
                 const Team& team, bool shared_base) {
  const Workforce workforce = team.workforce(shared_base);
  Plan plan = make_plan(config, base, training, validation, workforce);
  const std::int64_t least = team.least(plan.told.micro_batch_tokens);
  if (least == plan.told.micro_batch_tokens) return plan;
  RunConfig smaller = config;
  smaller.micro_batch_tokens = least;
  return make_plan(smaller, base, training, validation, workforce);
}

/// The config of a run that goes on: as many positions go through the model at once as before.
RunConfig as_before(const RunConfig& config, const std::optional<RunState>& state) {
  RunConfig same = config;
  if (!state) return same;
  same.micro_batch_tokens = state->micro_batch_tokens;
  same.recompute = state->recompute;
  return same;
}

/// A plan that was good elsewhere may not fit in the memory here.
Plan plan_to_follow(const Prepared& run) {
  try {
    return agreed_plan(as_before(run.config, run.state), run.base, run.training, run.validation, run.team,
                       run.resources.base && run.resources.base_is_shared);
  } catch (const base::UsageError& error) {
    if (!run.state) throw;
    throw StateRefused(std::string("the run cannot go on from its state here: ") + error.what());
  }
}

std::optional<RunState> state_to_resume(const RunConfig& config) {
  if (config.resume_from.empty()) return std::nullopt;
  return read_run_state(config.resume_from);
}

}  // namespace

formats::ModelConfig checked_base(const RunConfig& config, const RunResources& resources, bool writes) {
  const formats::ModelConfig base = resources.base && !config.full_parameter
                                        ? resources.base->config()
                                        : formats::read_model_config(config.base_directory);
  check_config(config, base);
  if (writes) check_output(config);
  return base;
}

Prepared::Prepared(const RunConfig& run_config, Rows training_rows, Rows validation_rows, const RunResources& lent)
    : config(run_config), resources(lent), team(lent.collective), base(checked_base(config, lent, team.leads())),
      training(cut_rows(std::move(training_rows), "training", row_limit(config, base), base)),
      validation(cut_rows(std::move(validation_rows), "validation", row_limit(config, base), base)),
      state(state_to_resume(config)),
      plan(plan_to_follow(*this)) {}

}  // namespace finetuned::training
