#pragma once

#include <optional>
#include <vector>

#include "trainer/formats/hf_config.h"
#include "trainer/training/plan.h"
#include "trainer/training/run.h"
#include "trainer/training/run_state.h"
#include "trainer/training/team.h"

namespace finetuned::training {

/// The base's config, once `config` can be run on it: of the base in memory, where there is one, for its files may have
/// changed since it was read. Throws FormatError, UsageError.
formats::ModelConfig checked_base(const RunConfig& config, const RunResources& resources, bool writes);

/// A run as it was checked and planned, before its device and its model are made. Throws what run_training() throws before
/// its first step, save what is found wrong with the state only when it is taken up.
struct Prepared {
  /// `run_config` and `lent` outlive it.
  Prepared(const RunConfig& run_config, std::vector<text::TokenRow> training_rows,
           std::vector<text::TokenRow> validation_rows, const RunResources& lent);

  const RunConfig& config;
  const RunResources& resources;
  Team team;
  formats::ModelConfig base;
  std::vector<text::TokenRow> training;
  std::vector<text::TokenRow> validation;
  std::optional<RunState> state;  ///< to go on from; empty once it has been taken up
  Plan plan;
};

}  // namespace finetuned::training
