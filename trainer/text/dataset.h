#pragma once

#include <cstddef>
#include <cstdint>
#include <istream>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/lines.h"

namespace finetuned::text {

enum class Role { kSystem, kDeveloper, kUser, kAssistant, kTool };
std::string_view role_name(Role role);

/// One turn, whatever format it came in.
struct Message {
  Role role = Role::kUser;
  std::optional<std::string> content;  ///< absent only on an assistant turn that has tool calls
  bool trained = true;                 ///< assistant turns: false for `weight: 0`
  std::string name;                    ///< empty for none
  std::string tool_call_id;            ///< tool turns; empty for none
  base::json::array tool_calls;  ///< assistant turns, as given (arguments are JSON text); empty for none
};

/// One training example.
struct Row {
  std::int64_t line = 0;          ///< 1-based in its file
  bool plain_completion = false;  ///< a prompt/completion row: two messages, user and assistant
  std::vector<Message> messages;  ///< at least one assistant turn that is trained
  base::json::array tools;        ///< empty for none
};

/// Something wrong with a dataset, and what to do about it.
struct RowFault {
  std::int64_t line = 0;  ///< 1-based; 0 for a fault of the whole file
  std::string field;      ///< `messages[2].role`; empty for the whole row or file
  std::string code;       ///< snake_case, e.g. `missing_assistant_message`
  std::string message;    ///< for people, with the remedy
};

/// All faults counted, the first ones kept.
class FaultList {
 public:
  explicit FaultList(std::size_t keep = 1000) : keep_(keep) {}
  void add(RowFault fault);
  std::int64_t count() const { return count_; }
  const std::vector<RowFault>& kept() const { return kept_; }

 private:
  std::size_t keep_;
  std::int64_t count_ = 0;
  std::vector<RowFault> kept_;
};

struct DatasetLimits {
  std::size_t line_bytes = 16u << 20;  ///< longer lines are the fault `line_too_long`, and are skipped
  std::size_t kept_faults = 1000;
  std::int64_t min_examples = 10;  ///< fewer rows, good or bad, are the fault `too_few_examples`
  std::size_t messages = 10'000;   ///< turns in a row
};

/// Reads a JSONL dataset once, a line at a time, in memory bounded by the longest line: chat `messages`,
/// `prompt`/`completion`, Alpaca `instruction`/`input`/`output`, ShareGPT `conversations`, recognised row by
/// row. A row with a fault is reported and left out; reading goes on, so that every fault is found at once.
///
///   DatasetReader reader(stream);
///   while (std::optional<Row> row = reader.next()) use(*row);
///   report(reader.faults());
///
/// Fault codes of a file: empty_file, too_few_examples, unreadable_file; of a line: line_too_long, blank_line
/// (not at the end of the file), byte_order_mark, invalid_utf8, invalid_json, not_an_object; of a row:
/// unknown_format, missing_field, invalid_type, invalid_value, unknown_field, empty_messages,
/// too_many_messages, unknown_role, empty_content, invalid_weight, missing_assistant_message,
/// no_trained_message, invalid_tool_call, invalid_tool, unknown_tool_call_id, unsupported_content_part,
/// empty_completion.
class DatasetReader {
 public:
  /// `stream` outlives the reader.
  explicit DatasetReader(std::istream& stream, const DatasetLimits& limits = {});

  /// The next row without a fault; absent at the end of the file, when the faults of the whole file are known
  /// too.
  std::optional<Row> next();

  const FaultList& faults() const { return faults_; }
  FaultList& faults() { return faults_; }  ///< to add what later stages find (e.g. RowError of RowEncoder)
  std::int64_t lines() const { return lines_.number(); }  ///< lines read so far
  std::int64_t examples() const {
    return examples_;
  }  ///< rows read so far, good or bad, blank lines not counted

 private:
  std::optional<Row> read_row(std::string_view line);
  void add_fault(std::string code, std::string message);
  void finish();

  std::istream& stream_;
  base::LineReader lines_;
  DatasetLimits limits_;
  FaultList faults_;
  std::int64_t examples_ = 0;
  bool finished_ = false;
  std::int64_t blank_from_ = 0;  // blank lines not yet known to be inside the file
  std::int64_t blank_lines_ = 0;
};

/// Reads one row from its JSON. Faults go to `faults` with `line`; absent where there was one.
std::optional<Row> parse_row(const base::json::value& value, std::int64_t line, const DatasetLimits& limits,
                             FaultList& faults);

}  // namespace finetuned::text
