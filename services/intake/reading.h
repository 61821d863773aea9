#pragma once

#include <cstdint>
#include <functional>
#include <istream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "trainer/text/dataset.h"
#include "trainer/text/supervised.h"

namespace finetuned::intake {

/// A tokenizer (with its chat template) that rows are counted for, and the base models that share it.
struct Counter {
  std::string fingerprint;
  std::vector<std::string> models;
  std::shared_ptr<const text::RowEncoder> encoder;  ///< shared with the cache it came from
};

/// A dataset's size for one tokenizer.
struct TokenCount {
  std::string fingerprint;
  std::vector<std::string> models;
  std::int64_t tokens = 0;
  std::int64_t supervised_tokens = 0;
  std::int64_t longest_tokens = 0;
  std::int64_t longest_line = 0;            ///< 1-based; the first of the longest rows
  std::vector<std::uint32_t> row_tokens;    ///< in file order
  std::optional<text::RowFault> refused;    ///< the first row that this model cannot train on; the counts are then 0
};

/// What one pass over a dataset found.
struct Reading {
  std::int64_t rows = 0;  ///< rows without a fault
  std::int64_t chat_rows = 0;
  std::int64_t completion_rows = 0;
  text::FaultList faults;
  std::vector<TokenCount> counts;  ///< one a Counter, in their order

  bool ok() const { return faults.count() == 0; }
  /// `chat`, `prompt_completion`, `mixed`, or empty where no row could be read.
  std::string format() const;
};

/// Reads the dataset once, row by row; memory is bounded by the longest line, the kept faults and 4 bytes a row and
/// counter. A row that one model's template refuses is that counter's `refused`, not a fault of the file.
/// `keep_going` is asked at every row: false gives up, and nothing is returned.
std::optional<Reading> read_dataset(std::istream& dataset, const std::vector<Counter>& counters,
                                    const text::DatasetLimits& limits, const std::function<bool()>& keep_going);

/// The report as the API shows it:
/// {"ok", "rows", "format", "fault_count", "faults": [{"line", "field", "code", "message"}], "tokens": {MODEL: {...}}}.
base::json::object report_of(const Reading& reading);

/// `tokens` of the report for one counter: the same object for each of its models.
base::json::object token_report(const TokenCount& count);

/// One line for `status_details`: the first fault and how many there are. Empty for a reading without faults.
std::string status_details_of(const Reading& reading);

}  // namespace finetuned::intake
