#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "services/engine_workers.h"
#include "trainer/training/run.h"

namespace finetuned::services {

/// What `finetuned train` was asked for. Fields of `run` that an initial adapter decides are taken from it where the
/// command line does not say otherwise.
struct TrainArguments {
  training::RunConfig run;
  WorkerArguments workers;
  std::string data;
  std::string tokens;
  std::string validation;
  std::string log;
  int verify_kills = 0;  ///< of --verify-resume; 0: only train
  std::string device = "cpu";  ///< as --device takes it
  bool train_on_inputs = false;
  bool rank_given = false;
  bool alpha_given = false;
  bool modules_given = false;
  bool rslora_given = false;
};

/// Goes on from `run.state_file` where that is there, and removes it once the run has ended whole.
///
/// Reads the rows, trains with a progress line, logs each step as JSON, and prints where the result lies. SIGINT and
/// SIGTERM end the run after its present micro-batch, keeping what was trained; a second one kills.
void train(TrainArguments arguments);

}  // namespace finetuned::services
