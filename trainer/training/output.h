#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "trainer/formats/peft.h"
#include "trainer/model/transformer.h"
#include "trainer/training/run.h"

namespace finetuned::training {

/// Throws UsageError where `out_directory` cannot be made or written, or is the base's or the initial adapter's own
/// directory, whose files the result would replace. Makes nothing.
void check_output(const RunConfig& config);

/// Removes what a run that was killed had begun to write into `directory`, and beside `state_file` where there is one.
void remove_unfinished(const std::filesystem::path& directory, const std::filesystem::path& state_file);

/// Throws Diverged where a trained value is not a finite number.
template <class Device>
void check_finite(const model::Transformer<Device>& model, std::int64_t step);

/// What a run has trained at one moment, in memory of its own: the model trains on.
struct Trained {
  struct Tensor {
    std::string name;
    std::vector<std::int64_t> shape;
    std::vector<float> values;
  };
  std::optional<formats::Adapter> adapter;
  std::vector<Tensor> tensors;  ///< every weight, of a full-parameter run
};

template <class Device>
Trained trained_by(const RunConfig& config, const model::Transformer<Device>& model);

/// Writes what is trained into `directory` (made where absent): the adapter, or of a full-parameter run a Hugging Face
/// directory with config.json and the base's tokenizer files. Each file appears whole or not at all.
void write_result(const RunConfig& config, const Trained& trained, const std::filesystem::path& directory);

/// write_result into `out_directory`/step-N as a whole: written as `step-N.tmp`, fsynced, renamed, the parent fsynced. What
/// an earlier, broken-off attempt left under either name is replaced. Returns the directory.
std::filesystem::path write_checkpoint(const RunConfig& config, const Trained& trained, std::int64_t step);

}  // namespace finetuned::training
