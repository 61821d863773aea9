#pragma once

#include <sys/types.h>

#include <filesystem>

#include "storage/redis/client.h"

namespace finetuned::tests {

/// A Redis of a test's own, so that it may be killed and emptied.
class PrivateRedis {
 public:
  PrivateRedis();
  ~PrivateRedis();
  PrivateRedis(const PrivateRedis&) = delete;
  PrivateRedis& operator=(const PrivateRedis&) = delete;

  redis::Address address() const;
  void start();
  void kill_hard();

 private:
  std::filesystem::path directory_;
  pid_t pid_ = 0;
};

}  // namespace finetuned::tests
