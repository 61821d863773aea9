#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

namespace finetuned::tensor {

/// Where a device's time went, by kernel. Kernels add to it on their caller's thread, so no two at a time.
class Profile {
 public:
  struct Line {
    std::string_view name;  ///< a literal
    std::int64_t calls = 0;
    double seconds = 0;
    double flops = 0;  ///< multiplications and additions that the formula asks for
    double bytes = 0;  ///< operands read and results written, each once
  };

  void add(std::string_view name, double seconds, double flops, double bytes);
  void clear() { lines_.clear(); }
  const std::vector<Line>& lines() const { return lines_; }  ///< in the order of first use

 private:
  std::vector<Line> lines_;
};

/// Adds the time from its construction to its end to a profile, where there is one: without, it costs a
/// branch.
class KernelTimer {
 public:
  KernelTimer(Profile* profile, std::string_view name, double flops, double bytes)
      : profile_(profile), name_(name), flops_(flops), bytes_(bytes) {
    if (profile_) start_ = std::chrono::steady_clock::now();
  }
  ~KernelTimer() {
    if (!profile_) return;
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start_;
    profile_->add(name_, taken.count(), flops_, bytes_);
  }
  KernelTimer(const KernelTimer&) = delete;
  KernelTimer& operator=(const KernelTimer&) = delete;

 private:
  Profile* profile_;
  std::string_view name_;
  double flops_, bytes_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace finetuned::tensor
