#pragma once

#include <chrono>
#include <thread>

namespace finetuned::tests {

/// Whether `done()` becomes true within ten seconds.
template <class Done>
bool soon(Done done) {
  using Steady = std::chrono::steady_clock;
  for (const auto end = Steady::now() + std::chrono::seconds(10); Steady::now() < end; std::this_thread::sleep_for(std::chrono::milliseconds(10)))
    if (done()) return true;
  return false;
}

}  // namespace finetuned::tests
