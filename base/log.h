#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

namespace finetuned::base {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

/// One `key=value` of a log line. Values are quoted where they need it; never pass a key's secret or a file's content.
struct LogField {
  std::string_view key;
  std::string value;

  LogField(std::string_view name, std::string_view text) : key(name), value(text) {}
  LogField(std::string_view name, const char* text) : key(name), value(text) {}
  LogField(std::string_view name, const std::string& text) : key(name), value(text) {}
  LogField(std::string_view name, std::int64_t number) : key(name), value(std::to_string(number)) {}
  LogField(std::string_view name, std::uint64_t number) : key(name), value(std::to_string(number)) {}
  LogField(std::string_view name, int number) : key(name), value(std::to_string(number)) {}
  LogField(std::string_view name, double number);
};

/// Starts the process's log: lines to stderr as `2026-11-23T21:45:29.123Z info worker: job started job=ftjob-...`.
/// Call once, first thing; `role` stands in each line. Before that, lines go out without a role.
void start_log(std::string_view role, LogLevel least);

/// Reads `debug|info|warn|error`. Throws UsageError.
LogLevel parse_log_level(std::string_view name);

/// Writes one line. Any thread.
void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});

inline void log_debug(std::string_view event, std::initializer_list<LogField> fields = {}) {
  log(LogLevel::kDebug, event, fields);
}
inline void log_info(std::string_view event, std::initializer_list<LogField> fields = {}) {
  log(LogLevel::kInfo, event, fields);
}
inline void log_warn(std::string_view event, std::initializer_list<LogField> fields = {}) {
  log(LogLevel::kWarn, event, fields);
}
inline void log_error(std::string_view event, std::initializer_list<LogField> fields = {}) {
  log(LogLevel::kError, event, fields);
}

}  // namespace finetuned::base
