#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace finetuned::base {

/// Where the time comes from. Leases never ask it: only the database's clock decides those.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::chrono::system_clock::time_point now() const = 0;
  virtual std::chrono::steady_clock::time_point monotonic() const = 0;

  std::int64_t unix_seconds() const;
};

class SystemClock final : public Clock {
 public:
  std::chrono::system_clock::time_point now() const override;
  std::chrono::steady_clock::time_point monotonic() const override;
};

/// Stands still until advanced: for tests of deadlines and expiry.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(std::chrono::system_clock::time_point start) : now_(start) {}
  std::chrono::system_clock::time_point now() const override { return now_; }
  std::chrono::steady_clock::time_point monotonic() const override { return monotonic_; }
  void advance(std::chrono::nanoseconds by);

 private:
  std::chrono::system_clock::time_point now_;
  std::chrono::steady_clock::time_point monotonic_{};
};

/// `2026-11-23T21:45:29.123Z`
std::string iso8601_utc(std::chrono::system_clock::time_point when);

}  // namespace finetuned::base
