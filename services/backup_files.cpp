#include "services/backup_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "base/sha256.h"

namespace finetuned::services {

namespace {
constexpr std::size_t kPieceBytes = 1 << 20;
}

base::FileDescriptor open_for_reading(const std::filesystem::path& path) {
  base::FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.valid()) base::throw_errno("cannot open", path);
  return file;
}

void sync_file(const base::FileDescriptor& file, const std::filesystem::path& path) {
  if (::fsync(file.get()) != 0) base::throw_errno("cannot fsync", path);
}

std::string copy_file_durably(const std::filesystem::path& from, const std::filesystem::path& to, unsigned mode) {
  const base::FileDescriptor in = open_for_reading(from);
  base::DurableFile out(to, mode);
  base::Sha256 hash;
  std::vector<char> piece(kPieceBytes);
  for (;;) {
    const ssize_t got = ::read(in.get(), piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) base::throw_errno("cannot read", from);
    if (got == 0) break;
    hash.update({piece.data(), static_cast<std::size_t>(got)});
    out.write(piece.data(), static_cast<std::size_t>(got));
  }
  out.commit();
  return hash.hex();
}

}  // namespace finetuned::services
