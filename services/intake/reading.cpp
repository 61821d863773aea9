#include "services/intake/reading.h"

#include <algorithm>
#include <limits>

#include "base/expects.h"
#include "trainer/text/utf8.h"

namespace finetuned::intake {

namespace {

namespace json = base::json;

/// Text that a user wrote may stand in a fault: PostgreSQL takes neither broken UTF-8 nor NUL.
std::string storable(std::string_view text) {
  std::string valid = text::to_valid_utf8(text);
  std::erase(valid, '\0');
  return valid;
}

json::object fault_report(const text::RowFault& fault) {
  return {{"line", fault.line},
          {"field", storable(fault.field)},
          {"code", fault.code},
          {"message", storable(fault.message)}};
}

void count_row(const text::Row& row, const Counter& counter, TokenCount& count) {
  if (count.refused) return;
  try {
    const text::RowCount size = counter.encoder->count(row);
    base::expects(size.tokens <= std::numeric_limits<std::uint32_t>::max(), "a row's tokens fit 32 bits");
    count.tokens += size.tokens;
    count.supervised_tokens += size.supervised;
    count.row_tokens.push_back(static_cast<std::uint32_t>(size.tokens));
    if (size.tokens > count.longest_tokens) {
      count.longest_tokens = size.tokens;
      count.longest_line = row.line;
    }
  } catch (const text::RowError& error) {
    TokenCount refused;
    refused.fingerprint = count.fingerprint;
    refused.models = count.models;
    refused.refused = error.fault(row.line);
    count = std::move(refused);
  }
}

}  // namespace

std::string Reading::format() const {
  if (chat_rows > 0 && completion_rows > 0) return "mixed";
  if (chat_rows > 0) return "chat";
  return completion_rows > 0 ? "prompt_completion" : "";
}

std::optional<Reading> read_dataset(std::istream& dataset, const std::vector<Counter>& counters,
                                    const text::DatasetLimits& limits, const std::function<bool()>& keep_going) {
  Reading reading;
  reading.counts.resize(counters.size());
  for (std::size_t i = 0; i < counters.size(); ++i) {
    reading.counts[i].fingerprint = counters[i].fingerprint;
    reading.counts[i].models = counters[i].models;
  }
  text::DatasetReader reader(dataset, limits);
  while (const std::optional<text::Row> row = reader.next()) {
    if (!keep_going()) return std::nullopt;
    ++reading.rows;
    ++(row->plain_completion ? reading.completion_rows : reading.chat_rows);
    for (std::size_t i = 0; i < counters.size(); ++i) count_row(*row, counters[i], reading.counts[i]);
  }
  if (!keep_going()) return std::nullopt;
  reading.faults = std::move(reader.faults());
  return reading;
}

json::object token_report(const TokenCount& count) {
  if (count.refused) return {{"error", fault_report(*count.refused)}};
  return {{"tokens", count.tokens},
          {"supervised_tokens", count.supervised_tokens},
          {"longest_row_tokens", count.longest_tokens},
          {"longest_row_line", count.longest_line}};
}

json::object report_of(const Reading& reading) {
  json::array faults;
  for (const text::RowFault& fault : reading.faults.kept()) faults.push_back(fault_report(fault));
  json::object tokens;
  for (const TokenCount& count : reading.counts)
    for (const std::string& model : count.models) tokens[model] = token_report(count);
  json::object report{{"ok", reading.ok()},
                      {"rows", reading.rows},
                      {"format", nullptr},
                      {"fault_count", reading.faults.count()},
                      {"faults", std::move(faults)},
                      {"tokens", std::move(tokens)}};
  if (const std::string format = reading.format(); !format.empty()) report["format"] = format;
  return report;
}

std::string status_details_of(const Reading& reading) {
  if (reading.ok()) return {};
  const text::RowFault& first = reading.faults.kept().front();
  std::string details;
  if (first.line > 0) details += "line " + std::to_string(first.line) + ": ";
  if (!first.field.empty()) details += storable(first.field) + ": ";
  details += storable(first.message);
  if (const auto others = reading.faults.count() - 1; others > 0)
    details += " (and " + std::to_string(others) + (others == 1 ? " other fault" : " other faults") +
               "; GET /v1/files/{id}/report lists them)";
  return details;
}

}  // namespace finetuned::intake
