#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

namespace finetuned::base {

/// A failed system call on a file. `error_number` is errno: ENOSPC decides between "disk full" and "broken".
struct FileError : std::filesystem::filesystem_error {
  using std::filesystem::filesystem_error::filesystem_error;
  bool disk_full() const;
};

/// Whether the disk, not what was asked of it, is at fault: full, failing, gone or made read-only.
bool is_storage_fault(const std::error_code& code);

/// Throws FileError for the current errno.
[[noreturn]] void throw_errno(const std::string& action, const std::filesystem::path& path);

/// Owns a file descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release();

 private:
  int fd_ = -1;
};

/// Reads a whole file of at most `most_bytes`. Throws FileError, or FormatError where it is larger.
std::string read_file(const std::filesystem::path& path, std::uint64_t most_bytes);

/// Writes all of `data`, through short writes and EINTR.
void write_all(int fd, std::string_view data, const std::filesystem::path& path_for_errors);

/// Flushes a directory's entries to disk, so that a rename in it survives a power cut.
void sync_directory(const std::filesystem::path& directory);

/// A file that appears whole or not at all: written beside its place as `.NAME.tmp-RANDOM`, fsynced, renamed,
/// directory fsynced by commit(). Destroyed without commit, it leaves nothing.
class DurableFile {
 public:
  explicit DurableFile(std::filesystem::path target, unsigned mode = 0644);
  ~DurableFile();
  DurableFile(const DurableFile&) = delete;
  DurableFile& operator=(const DurableFile&) = delete;

  void write(const void* data, std::size_t size);
  void write(std::string_view data) { write(data.data(), data.size()); }
  void commit();

 private:
  std::filesystem::path target_;
  std::filesystem::path beside_;
  FileDescriptor fd_;
};

/// DurableFile in one call.
void write_durably(const std::filesystem::path& target, std::string_view data, unsigned mode = 0644);

}  // namespace finetuned::base
