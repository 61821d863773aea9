#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "trainer/training/run.h"

namespace finetuned::training {

/// All that a run needs to go on after its last whole step. What is not here follows from the step's number:
/// the order of the rows, the schedule, dropout.
struct RunState {
  /// By what and on what it was trained, each as SHA-256: it goes on with the same only, for others give other bits.
  struct Origin {
    std::string engine;  ///< engine_sha256()
    std::string settings;
    std::string training_rows;
    std::string validation_rows;
    std::string base;
    bool operator==(const Origin&) const = default;
  };
  Origin origin;
  std::int64_t micro_batch_tokens = 0;  ///< that went through the model at once: others give other bits
  bool recompute = false;
  std::vector<StepMetrics> steps;  ///< all that were taken
  bool validated = true;           ///< false: the last step's validation was broken off, and is to be done
  std::uint64_t sample_at = 0;     ///< where the next sample of the validation rows begins
  std::vector<float> values;       ///< trained ones, as Transformer::trained_values() has them
  std::vector<float> first;        ///< AdamW's moments
  std::vector<float> second;
};

/// Appears whole or not at all, for this user's eyes; the SHA-256 of the rest stands at its end. Throws base::FileError.
void write_run_state(const std::filesystem::path& file, const RunState& state);

/// Throws base::FileError, and StateRefused for a file that is missing, damaged, or of another version of the format.
RunState read_run_state(const std::filesystem::path& file);

/// SHA-256 of what was trained: the values, and AdamW's moments. Two runs that came to the same have the same from here on.
std::string trained_sha256(const RunState& state);

/// Throws StateRefused, naming what differs.
void check_origin(const RunState::Origin& saved, const RunState::Origin& present);

}  // namespace finetuned::training
