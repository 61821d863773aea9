#include "base/files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/errors.h"
#include "base/ids.h"

namespace finetuned::base {

namespace fs = std::filesystem;

bool FileError::disk_full() const { return code().value() == ENOSPC || code().value() == EDQUOT; }

bool is_storage_fault(const std::error_code& code) {
  if (code.category() != std::generic_category() && code.category() != std::system_category()) return false;
  switch (code.value()) {
    case ENOSPC:
    case EDQUOT:
    case EIO:
    case EREMOTEIO:
    case EROFS:
    case ESTALE:
    case ENODEV:
    case ENXIO:
    case ENOTCONN:
    case ESHUTDOWN:
    case ETIMEDOUT:
    case EHOSTDOWN:
    case EUCLEAN: return true;
    default: return false;
  }
}

void throw_errno(const std::string& action, const fs::path& path) {
  throw FileError(action, path, std::error_code(errno, std::generic_category()));
}

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.release();
  }
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

int FileDescriptor::release() { return std::exchange(fd_, -1); }

std::string read_file(const fs::path& path, std::uint64_t most_bytes) {
  const FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) throw_errno("cannot open", path);
  struct stat about {};
  if (::fstat(fd.get(), &about) != 0) throw_errno("cannot stat", path);
  if (S_ISDIR(about.st_mode)) throw FormatError(path.string(), "", "is a directory, not a file");
  const auto too_large = [&] {
    return FormatError(path.string(), "", "is larger than the " + std::to_string(most_bytes) + " bytes that are read");
  };
  if (about.st_size > 0 && static_cast<std::uint64_t>(about.st_size) > most_bytes) throw too_large();
  std::string content;
  char piece[1 << 16];
  for (;;) {
    const ssize_t got = ::read(fd.get(), piece, sizeof piece);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno("cannot read", path);
    if (got == 0) return content;
    content.append(piece, static_cast<std::size_t>(got));
    if (content.size() > most_bytes) throw too_large();
  }
}

void write_all(int fd, std::string_view data, const fs::path& path_for_errors) {
  while (!data.empty()) {
    const ssize_t put = ::write(fd, data.data(), data.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) throw_errno("cannot write", path_for_errors);
    data.remove_prefix(static_cast<std::size_t>(put));
  }
}

void sync_directory(const fs::path& directory) {
  const FileDescriptor fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) throw_errno("cannot open directory", directory);
  if (::fsync(fd.get()) != 0) throw_errno("cannot fsync directory", directory);
}

DurableFile::DurableFile(fs::path target, unsigned mode) : target_(std::move(target)) {
  beside_ = target_.parent_path() / ("." + target_.filename().string() + "." + make_id("tmp"));
  fd_ = FileDescriptor(::open(beside_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode));
  if (!fd_.valid()) throw_errno("cannot create", beside_);
}

DurableFile::~DurableFile() {
  if (!beside_.empty()) ::unlink(beside_.c_str());
}

void DurableFile::write(const void* data, std::size_t size) {
  write_all(fd_.get(), {static_cast<const char*>(data), size}, beside_);
}

void DurableFile::commit() {
  if (::fsync(fd_.get()) != 0) throw_errno("cannot fsync", beside_);
  if (::rename(beside_.c_str(), target_.c_str()) != 0) throw_errno("cannot rename to", target_);
  beside_.clear();
  sync_directory(target_.parent_path().empty() ? fs::path(".") : target_.parent_path());
}

void write_durably(const fs::path& target, std::string_view data, unsigned mode) {
  DurableFile file(target, mode);
  file.write(data);
  file.commit();
}

}  // namespace finetuned::base
