#pragma once

#include <filesystem>
#include <vector>

#include "trainer/text/token_row.h"
#include "trainer/training/run.h"

namespace finetuned::training {

/// A run as one process hands it to another of the same program.
struct RunOrder {
  RunConfig config;
  std::vector<text::TokenRow> training;
  std::vector<text::TokenRow> validation;
};

/// Writes `config` and the rows to `file`, bit for bit; only this user may read it. Throws base::FileError.
void write_run_order(const std::filesystem::path& file, const RunConfig& config,
                     const std::vector<text::TokenRow>& training_rows, const std::vector<text::TokenRow>& validation_rows);

/// The way back. Throws base::FileError, and FormatError for what write_run_order() of this program did not write.
RunOrder read_run_order(const std::filesystem::path& file);

}  // namespace finetuned::training
