#pragma once

#include <vector>

#include "trainer/collective/fingerprint.h"
#include "trainer/training/run.h"

namespace finetuned::training {

/// SHA-256 of what computes: this program's version, its compiler, and the device's engine (tensor::device_engine).
std::string engine_sha256(const RunConfig& config);
/// SHA-256 of what of `config` decides the outcome.
std::string settings_sha256(const RunConfig& config);

/// What all workers of one run must have in common for their sums to mean anything and to have the same bits:
/// the program and its instruction set, the settings, the rows, the base's weights and the initial adapter,
/// each as SHA-256. Not what is a worker's own affair: directories, names, threads, memory. Reads the base's
/// files; throws FormatError.
collective::Fingerprint run_fingerprint(const RunConfig& config,
                                        const std::vector<text::TokenRow>& training_rows,
                                        const std::vector<text::TokenRow>& validation_rows);

}  // namespace finetuned::training
