#include "base/secret_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/errors.h"
#include "base/files.h"
#include "base/ids.h"

namespace finetuned::base {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kMostFileBytes = 4'096;

/// Linked into place, not renamed: a file that another process has put there meanwhile stays.
void create(const fs::path& file, const std::string& secret) {
  const fs::path beside = file.parent_path() / ("." + file.filename().string() + "." + make_id("tmp"));
  {
    const FileDescriptor fd(::open(beside.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd.valid()) throw_errno("cannot create", beside);
    try {
      write_all(fd.get(), secret, beside);
      if (::fsync(fd.get()) != 0) throw_errno("cannot fsync", beside);
    } catch (...) {
      ::unlink(beside.c_str());
      throw;
    }
  }
  const bool linked = ::link(beside.c_str(), file.c_str()) == 0;
  const int error = errno;
  ::unlink(beside.c_str());
  if (!linked && error != EEXIST) {
    errno = error;
    throw_errno("cannot create", file);
  }
  sync_directory(file.parent_path());
}

}  // namespace

std::string load_or_create_secret(const fs::path& file, const std::function<std::string()>& make, const std::string& remedy) {
  struct stat about {};
  if (::lstat(file.c_str(), &about) != 0) {
    if (errno != ENOENT) throw_errno("cannot stat", file);
    fs::create_directories(file.parent_path());
    create(file, make());
    if (::lstat(file.c_str(), &about) != 0) throw_errno("cannot stat", file);
  }
  if (!S_ISREG(about.st_mode) || (about.st_mode & 077) != 0)
    throw UsageError(file.string() + " holds a secret but others may read it: chmod 600 it, " + remedy);
  return read_file(file, kMostFileBytes);
}

}  // namespace finetuned::base
