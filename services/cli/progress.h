#pragma once

#include <chrono>
#include <string>

namespace finetuned::cli {

/// One line about something under way, on stderr: rewritten in place on a terminal; elsewhere (a log, a pipe)
/// a line of its own, at most one each `kPlainEvery`, so that a log stays readable.
class ProgressLine {
 public:
  ProgressLine();
  /// Leaves the last state standing on a terminal.
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  bool on_terminal() const { return terminal_; }
  /// Columns that a line may take.
  int width() const;
  /// Shows `text`, cut to the width on a terminal.
  void show(const std::string& text);
  /// A line that stays, above what is shown next.
  void note(const std::string& text);
  /// Shows `text` whatever was shown last, and ends the line.
  void end(const std::string& text);

 private:
  static constexpr std::chrono::seconds kPlainEvery{5};
  const bool terminal_;
  bool line_open_ = false;
  std::string last_;
  std::chrono::steady_clock::time_point next_plain_{};
};

}  // namespace finetuned::cli
