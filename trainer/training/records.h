#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "trainer/text/token_row.h"
#include "trainer/training/plan.h"
#include "trainer/training/run.h"

namespace finetuned::training {

/// step_metrics.csv: a header, then a line a step: step, train_loss, train_mean_token_accuracy, valid_loss,
/// valid_mean_token_accuracy, full_valid_loss, full_valid_mean_token_accuracy, learning_rate, grad_norm, tokens. Fields
/// without a value are empty. No times: the same run gives the same bytes.
std::string step_metrics_csv(const std::vector<StepMetrics>& steps);

/// manifest.json: what was trained, on what, by what, and what came of it: SHA-256 of the base's files, of the rows as
/// trained on, of the config and of every result file; the seed; versions; the loss curve (at most 1,000 points).
std::string manifest_json(const RunConfig& config, const FileHashes& base, const Plan& plan, const std::string& device,
                          const std::vector<text::TokenRow>& training, const std::vector<text::TokenRow>& validation,
                          const std::vector<StepMetrics>& steps, const std::string& optimizer_sha256, bool stopped);

/// Of config.json, the tokenizer's files and the weights, as they stand in manifest.json. Reads all of them: seconds a
/// gigabyte. `each_piece` is called between pieces of 1 MiB; what it throws breaks off.
FileHashes hash_base(const std::filesystem::path& directory, const std::function<void()>& each_piece = {});

/// SHA-256 over the rows' lengths, ids and labels.
std::string rows_sha256(const std::vector<text::TokenRow>& rows);

}  // namespace finetuned::training
