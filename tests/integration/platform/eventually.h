#pragma once

#include <chrono>
#include <thread>

namespace finetuned::tests {

/// Waits until `holds` answers true; false after `seconds`.
template <class Condition>
bool eventually(const Condition& holds, double seconds = 20) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  do {
    if (holds()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  } while (std::chrono::steady_clock::now() < end);
  return holds();
}

}  // namespace finetuned::tests
