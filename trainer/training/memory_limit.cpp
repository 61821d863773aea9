#include "trainer/training/memory_limit.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace finetuned::training {

namespace fs = std::filesystem;

namespace {

/// The number in a control file; 0 where the file is absent, says `max`, or holds v1's "no limit" (near 2^63).
std::uint64_t limit_in(const fs::path& file) {
  std::ifstream in(file);
  std::uint64_t bytes = 0;
  if (!(in >> bytes) || bytes >= (std::uint64_t{1} << 62)) return 0;
  return bytes;
}

/// This process's group in the v2 hierarchy (`0::/path`), or `/`.
fs::path own_group() {
  std::ifstream in("/proc/self/cgroup");
  for (std::string line; std::getline(in, line);)
    if (line.rfind("0::", 0) == 0) return line.substr(3);
  return "/";
}

}  // namespace

std::uint64_t cgroup_limit_bytes(const fs::path& mount, const fs::path& group) {
  std::uint64_t least = 0;
  fs::path at = group.relative_path();
  for (;;) {
    const std::uint64_t here = limit_in(mount / at / "memory.max");
    if (here != 0) least = least == 0 ? here : std::min(least, here);
    if (at.empty()) return least;
    at = at.parent_path();
  }
}

std::uint64_t machine_memory_bytes() {
  const auto pages = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES));
  std::uint64_t bytes = pages * static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
  for (const std::uint64_t limit : {cgroup_limit_bytes("/sys/fs/cgroup", own_group()),
                                    limit_in("/sys/fs/cgroup/memory/memory.limit_in_bytes")})
    if (limit != 0) bytes = std::min(bytes, limit);
  return bytes;
}

std::uint64_t run_limit_bytes(std::uint64_t asked) {
  if (asked > 0) return asked;
  const std::uint64_t machine = machine_memory_bytes();
  return machine - machine / 10;
}

}  // namespace finetuned::training
