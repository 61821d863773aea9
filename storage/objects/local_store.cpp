#include "storage/objects/local_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "base/expects.h"
#include "base/ids.h"
#include "storage/objects/side_hash.h"

namespace finetuned::objects {

namespace {

constexpr char kHalfWritten[] = "tmp";
constexpr std::uint64_t kFlushBytes = 16 << 20;
constexpr std::size_t kSmallBytes = 32 * 1024;  // pieces up to this are gathered

std::string place_of(const std::string& id) { return id.substr(0, 2) + "/" + id.substr(2); }

/// Opens beneath `root`, through no symbolic link. Kernels before 5.6 lack openat2: names here have one slash at most
/// and are made by us, so O_NOFOLLOW on the last part is what is left to refuse. -1 and errno on failure.
int open_beneath(int root, const std::string& name, int flags, mode_t mode = 0) {
  open_how how{};
  how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC);
  how.mode = mode;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
  const long fd = ::syscall(SYS_openat2, root, name.c_str(), &how, sizeof how);
  if (fd >= 0 || (errno != ENOSYS && errno != EPERM)) return static_cast<int>(fd);
  return ::openat(root, name.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode);
}

[[noreturn]] void throw_storage_error(const std::string& action, const std::filesystem::path& path) {
  const std::string detail = action + " " + path.string() + ": " + std::generic_category().message(errno);
  if (errno == ENOSPC || errno == EDQUOT) throw StorageFull(detail);
  throw StorageUnavailable(detail);
}

class LocalWriter final : public ObjectWriter {
 public:
  LocalWriter(std::filesystem::path root, int root_fd, std::string id, std::uint64_t limit_bytes)
      : root_(std::move(root)), root_fd_(root_fd), id_(std::move(id)),
        beside_(std::string(kHalfWritten) + "/" + id_), limit_(limit_bytes) {
    fd_ = base::FileDescriptor(open_beneath(root_fd_, beside_, O_WRONLY | O_CREAT | O_EXCL, 0640));
    if (!fd_.valid()) throw_storage_error("create", root_ / beside_);
    ::flock(fd_.get(), LOCK_EX | LOCK_NB);  // tells remove_leftovers that the writer lives
  }

  ~LocalWriter() override {
    if (!committed_) ::unlinkat(root_fd_, beside_.c_str(), 0);
  }

  const std::string& id() const override { return id_; }

  void write(std::string_view data) override {
    base::expects(!committed_, "an object is not written after its commit");
    if (data.size() > limit_ - bytes_) throw ObjectTooLarge(limit_);
    bytes_ += data.size();
    if (small_.size() + data.size() <= kSmallBytes) {
      small_.append(data);
      return;
    }
    put_small();
    if (data.size() <= kSmallBytes)
      small_.append(data);
    else
      put(data);
  }

  std::uint64_t bytes_written() const override { return bytes_; }

  StoredObject commit() override {
    base::expects(!committed_, "an object is committed once");
    put_small();
    if (::fsync(fd_.get()) != 0) throw_storage_error("fsync", root_ / beside_);
    const std::string directory = id_.substr(0, 2);
    const bool made = ::mkdirat(root_fd_, directory.c_str(), 0750) == 0;
    if (!made && errno != EEXIST) throw_storage_error("create", root_ / directory);
    const std::string place = place_of(id_);
    if (::renameat(root_fd_, beside_.c_str(), root_fd_, place.c_str()) != 0)
      throw_storage_error("rename", root_ / place);
    committed_ = true;
    const base::FileDescriptor folder(open_beneath(root_fd_, directory, O_RDONLY | O_DIRECTORY));
    if (!folder.valid() || ::fsync(folder.get()) != 0) throw_storage_error("fsync", root_ / directory);
    if (made && ::fsync(root_fd_) != 0) throw_storage_error("fsync", root_);
    return {id_, bytes_, hash_.hex()};
  }

 private:
  /// Hashes while the kernel copies.
  void put(std::string_view data) {
    struct Wait {  // also where writing throws: the data is its owner's again then
      SideHash& hash;
      ~Wait() { hash.wait(); }
    };
    hash_.begin(data);
    const Wait wait{hash_};
    try {
      base::write_all(fd_.get(), data, root_ / beside_);
    } catch (const base::FileError& error) {
      if (error.disk_full()) throw StorageFull(error.what());
      throw StorageUnavailable(error.what());
    }
    put_ += data.size();
    if (put_ - flushed_ >= kFlushBytes) begin_flush();
  }

  void put_small() {
    if (small_.empty()) return;
    put(small_);
    small_.clear();
  }

  /// Lets the disk work while more arrives, so that commit's fsync finds little left. Only a hint: commit tells of errors.
  void begin_flush() {
    ::sync_file_range(fd_.get(), static_cast<off_t>(flushed_), static_cast<off_t>(put_ - flushed_), SYNC_FILE_RANGE_WRITE);
    flushed_ = put_;
  }

  const std::filesystem::path root_;  ///< for messages; the descriptor is what is used
  const int root_fd_;
  const std::string id_;
  const std::string beside_;
  const std::uint64_t limit_;
  base::FileDescriptor fd_;
  SideHash hash_;
  std::string small_;        ///< the last of what was written, gathered: not in the file yet
  std::uint64_t bytes_ = 0;  ///< written, by the caller's count
  std::uint64_t put_ = 0;    ///< ... in the file
  std::uint64_t flushed_ = 0;
  bool committed_ = false;
};

class LocalReader final : public ObjectReader {
 public:
  LocalReader(base::FileDescriptor fd, std::uint64_t size, std::filesystem::path path)
      : fd_(std::move(fd)), size_(size), path_(std::move(path)) {}

  std::uint64_t size() const override { return size_; }

  std::size_t read(std::uint64_t offset, char* into, std::size_t size) override {
    std::size_t filled = 0;
    while (filled < size) {
      const ssize_t got = ::pread(fd_.get(), into + filled, size - filled, static_cast<off_t>(offset + filled));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw_storage_error("read", path_);
      if (got == 0) break;
      filled += static_cast<std::size_t>(got);
    }
    return filled;
  }

 private:
  base::FileDescriptor fd_;
  std::uint64_t size_;
  std::filesystem::path path_;
};

}  // namespace

LocalStore::LocalStore(std::filesystem::path root) : root_(std::move(root)) {
  std::filesystem::create_directories(root_ / kHalfWritten);
  root_fd_ = base::FileDescriptor(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root_fd_.valid()) base::throw_errno("open", root_);
}

std::unique_ptr<ObjectWriter> LocalStore::create(std::uint64_t limit_bytes) {
  return std::make_unique<LocalWriter>(root_, root_fd_.get(), make_object_id(), limit_bytes);
}

std::unique_ptr<ObjectWriter> LocalStore::create_again(const std::string& id, std::uint64_t limit_bytes) {
  if (!is_object_id(id)) throw ObjectMissing(id);
  return std::make_unique<LocalWriter>(root_, root_fd_.get(), id, limit_bytes);
}

std::unique_ptr<ObjectReader> LocalStore::open(const std::string& id) {
  if (!is_object_id(id)) throw ObjectMissing(id);
  base::FileDescriptor fd(open_beneath(root_fd_.get(), place_of(id), O_RDONLY));
  if (!fd.valid()) {
    if (errno == ENOENT || errno == ELOOP) throw ObjectMissing(id);
    throw_storage_error("open", root_ / place_of(id));
  }
  struct stat about {};
  if (::fstat(fd.get(), &about) != 0) throw_storage_error("stat", root_ / place_of(id));
  if (!S_ISREG(about.st_mode)) throw ObjectMissing(id);
  return std::make_unique<LocalReader>(std::move(fd), static_cast<std::uint64_t>(about.st_size), root_ / place_of(id));
}

bool LocalStore::remove(const std::string& id) {
  if (!is_object_id(id)) return false;
  if (::unlinkat(root_fd_.get(), place_of(id).c_str(), 0) == 0) return true;
  if (errno == ENOENT) return false;
  throw_storage_error("remove", root_ / place_of(id));
}

void LocalStore::list(const std::function<void(const ObjectInfo&)>& each) {
  for (const auto& folder : std::filesystem::directory_iterator(root_)) {
    const std::string first = folder.path().filename().string();
    if (first.size() != 2 || !folder.is_directory()) continue;
    for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
      const std::string id = first + entry.path().filename().string();
      struct stat about {};
      if (!is_object_id(id) || ::lstat(entry.path().c_str(), &about) != 0 || !S_ISREG(about.st_mode)) continue;
      each({id, static_cast<std::uint64_t>(about.st_size), about.st_mtime});
    }
  }
}

std::size_t LocalStore::remove_leftovers() {
  std::size_t removed = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root_ / kHalfWritten)) {
    const std::string name = std::string(kHalfWritten) + "/" + entry.path().filename().string();
    const base::FileDescriptor fd(open_beneath(root_fd_.get(), name, O_RDONLY));
    if (!fd.valid()) continue;
    // The kernel drops a dead writer's lock. A file younger than a minute may lie between its creation and its lock.
    struct stat about {};
    if (::fstat(fd.get(), &about) != 0 || ::time(nullptr) - about.st_mtime < 60) continue;
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;
    if (::unlinkat(root_fd_.get(), name.c_str(), 0) == 0) ++removed;
  }
  return removed;
}

bool LocalStore::writable() noexcept { return ::faccessat(root_fd_.get(), kHalfWritten, W_OK | X_OK, 0) == 0; }

}  // namespace finetuned::objects
