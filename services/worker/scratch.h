#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/files.h"

namespace finetuned::worker {

/// One attempt's own folder, `ROOT/JOB/EPOCH`, gone when this is destroyed. A lock on its `lock` file says that its
/// worker lives (the kernel drops it when the process ends), so that another worker's sweep leaves it alone, and a
/// worker that lost its lease never meets the one that took over.
class Scratch {
 public:
  /// Throws base::FileError.
  Scratch(const std::filesystem::path& root, const std::string& job_id, std::int64_t epoch);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::filesystem::path& path() const { return path_; }

  /// Removes what dead workers left under `root`. Returns how many folders. For a worker's start.
  static std::size_t sweep(const std::filesystem::path& root);

 private:
  std::filesystem::path path_;
  base::FileDescriptor lock_;
};

}  // namespace finetuned::worker
