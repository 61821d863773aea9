#pragma once

#include <filesystem>

#include "trainer/formats/peft.h"
#include "trainer/formats/tar.h"

namespace finetuned::formats {

/// Writes a base model with an adapter merged into it as a tar of a Hugging Face directory: every weight file with the
/// names, shapes and dtypes of the base's, and beside them its JSON, templates, vocabularies and licence texts.
/// On adapted layers W' = W + scale B A, each element summed in single precision in the order of the ranks and rounded to
/// W's dtype; all else is copied. The same input gives the same bytes. Holds one row at a time beside the adapter; the
/// base is mapped. Throws FormatError, also where an adapted weight is not F32, BF16 or F16 or leaves its dtype's range;
/// FileError; and what `sink` throws.
void write_merged_tar(const std::filesystem::path& base_directory, const Adapter& adapter, const ByteSink& sink);

}  // namespace finetuned::formats
