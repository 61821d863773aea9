#include "storage/objects/object_store.h"

#include <algorithm>
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <utility>
#include <vector>

#include "base/files.h"
#include "base/hex.h"
#include "base/ids.h"

namespace finetuned::objects {

namespace {

constexpr std::size_t kPieceBytes = 1 << 20;
constexpr std::chrono::seconds kRetryAfter{5};

}  // namespace

StorageFull::StorageFull(std::string for_the_log)
    : StorageFault({507, "server_error", "storage_full",
                    "The server's disk is full; nothing of this was kept. Tell its operator."},
                   std::move(for_the_log)) {}

StorageUnavailable::StorageUnavailable(std::string for_the_log)
    : StorageFault({503, "server_error", "storage_unavailable",
                    "The server's storage does not answer; nothing of this was kept. Try again shortly.", std::nullopt, true},
                   std::move(for_the_log)) {
  retry_after = kRetryAfter;
}

ObjectTooLarge::ObjectTooLarge(std::uint64_t limit_bytes)
    : base::ApiError(413, "invalid_request_error", "file_too_large",
                     "The file is larger than " + std::to_string(limit_bytes) + " bytes, the most that is taken here.",
                     "file") {}

std::string make_object_id() { return base::hex_encode(base::random_bytes(16)); }

bool is_object_id(const std::string& id) {
  return id.size() == 32 && id.find_first_not_of("0123456789abcdef") == std::string::npos;
}

ObjectMissing::ObjectMissing(const std::string& id) : std::runtime_error("no object '" + id + "' in the store") {}

StoredObject store_file(ObjectStore& store, const std::filesystem::path& file,
                        const std::function<void(const std::string& id)>& begins) {
  const base::FileDescriptor fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) base::throw_errno("open", file);
  const auto writer = store.create(std::filesystem::file_size(file));
  if (begins) begins(writer->id());
  std::vector<char> piece(kPieceBytes);
  for (;;) {
    const ssize_t got = ::read(fd.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) base::throw_errno("read", file);
    if (got == 0) return writer->commit();
    writer->write({piece.data(), static_cast<std::size_t>(got)});
  }
}

void fetch_file(ObjectStore& store, const std::string& id, const std::filesystem::path& to) {
  const auto reader = store.open(id);
  const base::FileDescriptor fd(::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!fd.valid()) base::throw_errno("create", to);
  std::vector<char> piece(kPieceBytes);
  for (std::uint64_t offset = 0; offset < reader->size();) {
    const std::size_t got = reader->read(offset, piece.data(), piece.size());
    if (got == 0) throw ObjectMissing(id);  // cut short beneath us
    base::write_all(fd.get(), {piece.data(), got}, to);
    offset += got;
  }
}

std::string read_object(ObjectStore& store, const std::string& id, std::uint64_t most_bytes) {
  const auto reader = store.open(id);
  if (reader->size() > most_bytes)
    throw base::FormatError(id, "", "object of " + std::to_string(reader->size()) + " bytes, at most " +
                                        std::to_string(most_bytes) + " are read here");
  std::string content(reader->size(), '\0');
  std::size_t filled = 0;
  while (filled < content.size()) {
    const std::size_t got = reader->read(filled, content.data() + filled, content.size() - filled);
    if (got == 0) throw ObjectMissing(id);
    filled += got;
  }
  return content;
}

}  // namespace finetuned::objects
