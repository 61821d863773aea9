#pragma once

#include <set>
#include <string>
#include <string_view>

#include "trainer/text/dataset.h"

namespace finetuned::text {

/// Reads one JSON object as a row, in whichever format it is, noting every fault.
class RowReader {
 public:
  RowReader(std::int64_t line, const DatasetLimits& limits, FaultList& faults)
      : limits_(limits), faults_(faults) {
    row_.line = line;
  }
  /// Absent where a fault was noted.
  std::optional<Row> read(const base::json::object& object);

 private:
  using Object = base::json::object;

  void fault(std::string field, std::string code, std::string message);
  /// The string member `key`; absent, with a fault, where it is missing or no string.
  std::optional<std::string> text(const Object& object, std::string_view key, const std::string& field);

  void read_chat(const Object& object);
  void read_completion(const Object& object);
  void read_alpaca(const Object& object);
  void read_sharegpt(const Object& object);
  void read_message(const base::json::value& value, const std::string& field);
  void read_content(const Object& object, Message& message, const std::string& field);
  std::optional<std::string> joined_parts(const base::json::array& parts, const std::string& field);
  void read_weight(const base::json::value& value, Message& message, const std::string& field);
  void read_tool_calls(const base::json::value& value, Message& message, const std::string& field);
  void read_tool_call(const base::json::value& value, const std::string& field);
  void read_tool_call_id(const Object& object, Message& message, const std::string& field);
  void read_tools(const base::json::value& value);
  void add(Role role, std::string content);
  void check_turns(const char* list);

  const DatasetLimits& limits_;
  FaultList& faults_;
  Row row_;
  bool good_ = true;
  bool assistant_seen_ = false;
  std::set<std::string, std::less<>> call_ids_;
};

}  // namespace finetuned::text
