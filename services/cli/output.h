#pragma once

namespace finetuned::cli {

/// Opens what is closed of standard input, output and error on /dev/null, so that no file which is opened later takes their
/// place; what is printed to a closed standard output still fails. Call it before anything is opened.
void hold_standard_streams();

/// Throws std::runtime_error where something that was printed did not reach standard output: a full disk, a closed stream.
void flush_output();

}  // namespace finetuned::cli
