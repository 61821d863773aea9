#include "services/engine_rows.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iostream>
#include <limits>
#include <string>

#include "base/errors.h"
#include "base/json.h"
#include "base/lines.h"
#include "services/cli/render.h"
#include "trainer/text/dataset.h"

namespace finetuned::services {

namespace json = base::json;

namespace {

constexpr std::size_t kShownFaults = 20;
constexpr std::size_t kMaxLineBytes = 64'000'000;

std::string place_of(const text::RowFault& fault) {
  std::string text = fault.line > 0 ? "line " + std::to_string(fault.line) : "the file";
  if (!fault.field.empty()) text += ", " + fault.field;
  return text + ": " + fault.message;
}

[[noreturn]] void refuse(const std::filesystem::path& file, const text::FaultList& faults) {
  const std::vector<text::RowFault>& kept = faults.kept();
  if (faults.count() == 1) throw base::UsageError(file.string() + ": " + place_of(kept[0]));
  for (std::size_t i = 0; i < kept.size() && i < kShownFaults; ++i)
    std::cerr << file.string() << ": " << place_of(kept[i]) << "\n";
  throw base::UsageError(file.string() + ": " + std::to_string(faults.count()) + " faults; the first: " + place_of(kept[0]));
}

std::vector<std::int32_t> ids_of(const json::object& row, const char* field, const std::string& place) {
  const json::value* value = row.if_contains(field);
  if (!value || !value->is_array()) throw base::UsageError(place + ": " + field + " is not a list of integers");
  std::vector<std::int32_t> ids;
  ids.reserve(value->get_array().size());
  for (const json::value& item : value->get_array()) {
    if (!item.is_int64() || item.get_int64() < text::kIgnoreLabel ||
        item.get_int64() > std::numeric_limits<std::int32_t>::max())
      throw base::UsageError(place + ": " + field + " is not a list of token ids");
    ids.push_back(static_cast<std::int32_t>(item.get_int64()));
  }
  return ids;
}

}  // namespace

std::ifstream open_rows(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in || std::filesystem::is_directory(file)) throw base::UsageError(file.string() + ": cannot be read");
  return in;
}

void for_each_line(const std::filesystem::path& file, std::size_t most_bytes, const EachLine& each) {
  std::ifstream in = open_rows(file);
  base::LineReader lines(in, most_bytes);
  for (std::string line; lines.next(line);) {
    const std::string place = file.string() + ": line " + std::to_string(lines.number());
    if (lines.too_long())
      throw base::UsageError(place + " is longer than " + cli::format_bytes(static_cast<std::int64_t>(most_bytes)) +
                             "; make it shorter");
    each(line, place);
  }
  if (in.bad())
    throw std::runtime_error(file.string() + ": cannot be read beyond line " + std::to_string(lines.number()));
}

std::vector<text::TokenRow> dataset_rows(const std::filesystem::path& file, const text::RowEncoder& encoder,
                                         const text::SupervisedOptions& options, std::int64_t min_examples) {
  std::ifstream in = open_rows(file);
  text::DatasetLimits limits;
  limits.min_examples = min_examples;
  text::DatasetReader reader(in, limits);
  std::vector<text::TokenRow> rows;
  while (const std::optional<text::Row> row = reader.next()) {
    try {
      rows.push_back(encoder.encode(*row, options).row);
    } catch (const text::RowError& error) {
      reader.faults().add(error.fault(row->line));
    }
  }
  if (reader.faults().count() > 0) refuse(file, reader.faults());
  return rows;
}

std::vector<text::TokenRow> token_rows(const std::filesystem::path& file) {
  std::vector<text::TokenRow> rows;
  for_each_line(file, kMaxLineBytes, [&](const std::string& line, const std::string& place) {
    if (line.empty()) return;
    json::value value;
    try {
      value = base::parse_json(line, {.depth = 3, .bytes = kMaxLineBytes});
    } catch (const base::JsonError& error) {
      throw base::UsageError(place + ": " + error.what());
    }
    if (!value.is_object()) throw base::UsageError(place + ": is not an object with ids and labels");
    text::TokenRow row{ids_of(value.get_object(), "ids", place), ids_of(value.get_object(), "labels", place)};
    if (row.ids.size() != row.labels.size())
      throw base::UsageError(place + ": has " + std::to_string(row.ids.size()) + " ids but " +
                             std::to_string(row.labels.size()) + " labels");
    rows.push_back(std::move(row));
  });
  if (rows.empty()) throw base::UsageError(file.string() + ": has no rows");
  return rows;
}

std::vector<std::int32_t> parse_ids(const std::string& words, const std::string& place) {
  std::vector<std::int32_t> ids;
  std::size_t at = 0;
  while ((at = words.find_first_not_of(" ,\t\r", at)) != std::string::npos) {
    const std::size_t end = std::min(words.find_first_of(" ,\t\r", at), words.size());
    std::int32_t id = -1;
    const auto [stop, fault] = std::from_chars(words.data() + at, words.data() + end, id);
    if (fault != std::errc() || stop != words.data() + end || id < 0)
      throw base::UsageError(place + ": '" + words.substr(at, std::min<std::size_t>(end - at, 40)) + "' is not a token id");
    ids.push_back(id);
    at = end;
  }
  return ids;
}

void check_prompt(const std::vector<std::int32_t>& ids, const formats::ModelConfig& config, const std::string& what) {
  if (ids.empty()) throw base::UsageError(what + " has no tokens; give at least one");
  for (const std::int32_t id : ids)
    if (id < 0 || id >= config.vocab_size)
      throw base::UsageError(what + " has token " + std::to_string(id) + ", which is not in the vocabulary of " +
                             std::to_string(config.vocab_size));
  const auto count = static_cast<std::int64_t>(ids.size());
  if (count >= config.max_position_embeddings)
    throw base::UsageError(what + " has " + std::to_string(count) + " tokens and the model's context " +
                           std::to_string(config.max_position_embeddings) + "; shorten it");
}

std::string refuse_seed(const std::string& text) {
  std::uint64_t seed = 0;
  const auto [stop, fault] = std::from_chars(text.data(), text.data() + text.size(), seed);
  const bool whole = fault == std::errc() && stop == text.data() + text.size();
  return whole ? "" : "'" + text.substr(0, 40) + "' is not an integer from 0 to 18446744073709551615";
}

}  // namespace finetuned::services
