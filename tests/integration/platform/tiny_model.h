#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace finetuned::tests {

/// A whole Hugging Face directory of a random Llama (2 layers, hidden 32, untied) with a byte-level BPE tokenizer of 280
/// tokens and ChatML. The same arguments give the same bytes.
void write_tiny_model(const std::filesystem::path& directory, std::uint64_t seed = 1, int context = 256);

/// A dataset in chat format: `rows` questions with short answers, one JSON object a line.
std::string chat_dataset(int rows);

}  // namespace finetuned::tests
