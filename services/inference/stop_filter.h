#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace finetuned::inference {

/// Cuts an answer's text at the first stop string. What could still become the beginning of one is held back, so that no
/// piece of a stop string is ever handed out; where the pieces are cut makes no difference. Of several stop strings the one
/// that is complete first counts, and the longest of those that are complete at once.
class StopFilter {
 public:
  explicit StopFilter(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  /// Takes whole characters of UTF-8, hands out whole characters. Nothing once it has stopped.
  std::string push(std::string_view text);
  /// The end of the answer: what was held back.
  std::string finish();
  bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

}  // namespace finetuned::inference
