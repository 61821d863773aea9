#include "services/worker/scratch.h"

#include <fcntl.h>
#include <sys/file.h>

#include <system_error>

namespace finetuned::worker {

namespace {

namespace fs = std::filesystem;

base::FileDescriptor open_lock(const fs::path& file) {
  base::FileDescriptor lock(::open(file.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  if (!lock.valid()) base::throw_errno("open", file);
  return lock;
}

/// Held while a folder is made or removed: none is seen between its making and its own lock.
base::FileDescriptor hold_root(const fs::path& root) {
  fs::create_directories(root);
  base::FileDescriptor lock = open_lock(root / ".lock");
  if (::flock(lock.get(), LOCK_EX) != 0) base::throw_errno("lock", root);
  return lock;
}

}  // namespace

Scratch::Scratch(const fs::path& root, const std::string& job_id, std::int64_t epoch)
    : path_(root / job_id / std::to_string(epoch)) {
  const base::FileDescriptor root_lock = hold_root(root);
  fs::create_directories(path_);
  lock_ = open_lock(path_ / "lock");
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) base::throw_errno("lock", path_);
}

Scratch::~Scratch() {
  std::error_code ignored;  // what stays is swept at the next start
  fs::remove_all(path_, ignored);
  fs::remove(path_.parent_path(), ignored);
}

std::size_t Scratch::sweep(const fs::path& root) {
  const base::FileDescriptor root_lock = hold_root(root);
  std::size_t removed = 0;
  for (const auto& job : fs::directory_iterator(root)) {
    if (!job.is_directory()) continue;
    for (const auto& attempt : fs::directory_iterator(job.path())) {
      const base::FileDescriptor lock = open_lock(attempt.path() / "lock");
      if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) continue;
      fs::remove_all(attempt.path());
      ++removed;
    }
    std::error_code not_empty;
    fs::remove(job.path(), not_empty);
  }
  return removed;
}

}  // namespace finetuned::worker
