#pragma once

#include <condition_variable>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

#include "base/sha256.h"

namespace finetuned::objects {

/// SHA-256 of pieces in their order. A large one is hashed on a thread of its own while its owner does something else with
/// it; the thread begins with the first of them. One owner at a time.
class SideHash {
 public:
  SideHash() = default;
  ~SideHash();
  SideHash(const SideHash&) = delete;
  SideHash& operator=(const SideHash&) = delete;

  /// Takes a piece, which stays where it is until wait() has returned. Not again before that.
  void begin(std::string_view piece);
  void wait();
  /// Of all pieces. Once.
  std::string hex() { return hash_.hex(); }

 private:
  void work();

  base::Sha256 hash_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string_view piece_;  ///< under work on the thread; empty: none
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace finetuned::objects
