#include "base/clock.h"

#include <cstdio>
#include <ctime>

namespace finetuned::base {

using std::chrono::duration_cast;

std::int64_t Clock::unix_seconds() const {
  return duration_cast<std::chrono::seconds>(now().time_since_epoch()).count();
}

std::chrono::system_clock::time_point SystemClock::now() const { return std::chrono::system_clock::now(); }

std::chrono::steady_clock::time_point SystemClock::monotonic() const { return std::chrono::steady_clock::now(); }

void ManualClock::advance(std::chrono::nanoseconds by) {
  now_ += duration_cast<std::chrono::system_clock::duration>(by);
  monotonic_ += duration_cast<std::chrono::steady_clock::duration>(by);
}

std::string iso8601_utc(std::chrono::system_clock::time_point when) {
  const auto millis = duration_cast<std::chrono::milliseconds>(when.time_since_epoch()).count();
  const std::time_t seconds = static_cast<std::time_t>(millis / 1000);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[80];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900, parts.tm_mon + 1,
                parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, static_cast<int>(millis % 1000));
  return text;
}

}  // namespace finetuned::base
