#include "storage/objects/cached_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cerrno>
#include <tuple>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/sha256.h"

namespace finetuned::objects {

namespace {

namespace fs = std::filesystem;

constexpr std::size_t kPieceBytes = 1 << 20;
constexpr char kHalf[] = "half-";
constexpr std::chrono::hours kAbandoned{1};

class CopyReader final : public ObjectReader {
 public:
  CopyReader(base::FileDescriptor fd, std::uint64_t size, fs::path path) : fd_(std::move(fd)), size_(size), path_(std::move(path)) {}

  std::uint64_t size() const override { return size_; }

  std::size_t read(std::uint64_t offset, char* into, std::size_t size) override {
    std::size_t filled = 0;
    while (filled < size) {
      const ssize_t got = ::pread(fd_.get(), into + filled, size - filled, static_cast<off_t>(offset + filled));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw StorageUnavailable("read " + path_.string() + ": " + std::generic_category().message(errno));
      if (got == 0) break;
      filled += static_cast<std::size_t>(got);
    }
    return filled;
  }

 private:
  base::FileDescriptor fd_;
  std::uint64_t size_;
  fs::path path_;
};

std::unique_ptr<ObjectReader> open_file(const fs::path& path) {
  base::FileDescriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  struct stat about {};
  if (!fd.valid() || ::fstat(fd.get(), &about) != 0) return nullptr;
  return std::make_unique<CopyReader>(std::move(fd), static_cast<std::uint64_t>(about.st_size), path);
}

std::string hash_of(ObjectReader& reader) {
  base::Sha256 hash;
  std::vector<char> piece(kPieceBytes);
  for (std::uint64_t at = 0; at < reader.size();) {
    const std::size_t got = reader.read(at, piece.data(), piece.size());
    if (got == 0) return "";
    hash.update({piece.data(), got});
    at += got;
  }
  return hash.hex();
}

}  // namespace

CachedStore::CachedStore(std::unique_ptr<ObjectStore> store, fs::path directory, std::uint64_t most_bytes)
    : store_(std::move(store)), directory_(std::move(directory)), most_bytes_(most_bytes) {
  fs::create_directories(directory_);
}

std::unique_ptr<ObjectReader> CachedStore::open(const std::string& id) {
  if (!is_object_id(id)) throw ObjectMissing(id);
  const std::lock_guard lock(mutex_);
  try {
    if (auto copy = open_copy(id)) return copy;
  } catch (const std::exception& error) {
    base::log_warn("a copy of an object cannot be read", {{"object", id}, {"why", error.what()}});
  }
  auto reader = store_->open(id);
  if (reader->size() > most_bytes_ / 2) return reader;
  try {
    return fetch(id, *reader);
  } catch (const fs::filesystem_error& error) {  // of the copy: the other store's are StorageFault
    base::log_warn("an object cannot be copied; it is read where it is", {{"object", id}, {"why", error.what()}});
    return reader;
  }
}

/// A copy that is whole; null where there is none.
std::unique_ptr<ObjectReader> CachedStore::open_copy(const std::string& id) {
  for (const auto& entry : fs::directory_iterator(directory_)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind(id + "-", 0) != 0) continue;
    auto reader = open_file(entry.path());
    if (!reader) continue;  // another process made room
    if (hash_of(*reader) != name.substr(id.size() + 1)) {
      base::log_error("a copy of an object was altered: it is fetched anew", {{"copy", entry.path().string()}});
      fs::remove(entry.path());
      continue;
    }
    ::utimensat(AT_FDCWD, entry.path().c_str(), nullptr, 0);  // read now
    return reader;
  }
  return nullptr;
}

std::unique_ptr<ObjectReader> CachedStore::fetch(const std::string& id, ObjectReader& from) {
  make_room(from.size());
  const fs::path half = directory_ / (kHalf + base::make_id("copy"));
  struct Unlink {
    const fs::path& path;
    ~Unlink() { ::unlink(path.c_str()); }
  } const unless_renamed{half};
  const base::FileDescriptor fd(::open(half.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) base::throw_errno("create", half);
  base::Sha256 hash;
  std::vector<char> piece(kPieceBytes);
  for (std::uint64_t at = 0; at < from.size();) {
    const std::size_t got = from.read(at, piece.data(), piece.size());
    if (got == 0) throw StorageUnavailable("object " + id + " is shorter than it was said to be");
    hash.update({piece.data(), got});
    base::write_all(fd.get(), {piece.data(), got}, half);
    at += got;
  }
  const fs::path copy = directory_ / (id + "-" + hash.hex());
  fs::rename(half, copy);
  auto reader = open_file(copy);
  if (!reader) base::throw_errno("open", copy);
  return reader;
}

/// Removes the copies that were read longest ago, until `bytes` more fit.
void CachedStore::make_room(std::uint64_t bytes) {
  std::vector<std::tuple<fs::file_time_type, std::uint64_t, fs::path>> copies;
  std::uint64_t total = bytes;
  for (const auto& entry : fs::directory_iterator(directory_)) {
    std::error_code gone;
    const auto size = entry.file_size(gone);
    const auto time = entry.last_write_time(gone);
    if (gone) continue;
    total += size;
    copies.emplace_back(time, size, entry.path());
  }
  std::sort(copies.begin(), copies.end());
  for (const auto& [time, size, path] : copies) {
    if (total <= most_bytes_) return;
    if (path.filename().string().rfind(kHalf, 0) == 0) continue;  // being written, or left by a dead process: remove_leftovers
    std::error_code ignored;
    fs::remove(path, ignored);
    total -= size;
  }
}

bool CachedStore::remove(const std::string& id) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory_, ignored))
    if (entry.path().filename().string().rfind(id + "-", 0) == 0) fs::remove(entry.path(), ignored);
  return store_->remove(id);
}

std::size_t CachedStore::remove_leftovers() {
  for (const auto& entry : fs::directory_iterator(directory_)) {
    std::error_code gone;
    const auto time = entry.last_write_time(gone);
    if (gone || entry.path().filename().string().rfind(kHalf, 0) != 0) continue;
    if (fs::file_time_type::clock::now() - time > kAbandoned) fs::remove(entry.path(), gone);
  }
  return store_->remove_leftovers();
}

}  // namespace finetuned::objects
