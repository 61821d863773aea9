#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "trainer/formats/hf_config.h"
#include "trainer/text/supervised.h"
#include "trainer/text/token_row.h"

namespace finetuned::services {

/// Throws UsageError where `file` cannot be read.
std::ifstream open_rows(const std::filesystem::path& file);

/// Calls `each` with every line of `file`, which it may move from, and with the line's place for messages, `FILE: line N`.
/// Throws UsageError where the file cannot be read or a line has more than `most_bytes`, and std::runtime_error where the
/// file cannot be read to its end.
using EachLine = std::function<void(std::string& line, const std::string& place)>;
void for_each_line(const std::filesystem::path& file, std::size_t most_bytes, const EachLine& each);

/// Rows of a dataset (JSONL: chat, prompt/completion, Alpaca, ShareGPT) as this encoder gives them. Every fault is
/// written to stderr, a line each, at most 20; then UsageError with the first one and their number.
std::vector<text::TokenRow> dataset_rows(const std::filesystem::path& file, const text::RowEncoder& encoder,
                                         const text::SupervisedOptions& options, std::int64_t min_examples);

/// Rows of `{"ids":[...],"labels":[...]}`, a line each, in the file's order. Throws UsageError naming file and line.
std::vector<text::TokenRow> token_rows(const std::filesystem::path& file);

/// Token ids in `words`, parted by spaces or commas. Throws UsageError beginning with `place`.
std::vector<std::int32_t> parse_ids(const std::string& words, const std::string& place);

/// Throws UsageError, which calls the prompt `what`, for one that `config`'s model cannot continue: of no tokens, of ids
/// beyond the vocabulary, or as long as the context.
void check_prompt(const std::vector<std::int32_t>& ids, const formats::ModelConfig& config, const std::string& what);

/// Empty for a seed, an integer from 0 to 2^64 - 1; else what is wrong with `text`. For CLI11's check().
std::string refuse_seed(const std::string& text);

}  // namespace finetuned::services
