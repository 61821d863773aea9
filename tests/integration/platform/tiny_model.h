#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace finetuned::tests {

/// A whole Hugging Face directory of a random Llama (2 layers, untied) with a byte-level BPE tokenizer of 280
/// tokens and ChatML. The same arguments give the same bytes.
void write_tiny_model(const std::filesystem::path& directory, std::uint64_t seed = 1, int context = 256, int hidden = 32);

/// The same tokenizer under a Llama of 270 MB that takes seconds to read and no disk: its weights, all zero, are a hole in
/// the file.
void write_large_model(const std::filesystem::path& directory);

/// A dataset in chat format: `rows` questions with short answers, one JSON object a line.
std::string chat_dataset(int rows);

}  // namespace finetuned::tests
