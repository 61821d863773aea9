#include "base/machine.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

namespace finetuned::base {

namespace fs = std::filesystem;

namespace {

constexpr const char* kMount = "/sys/fs/cgroup";

/// The number in a control file; 0 where the file is absent, says `max`, or holds v1's "no limit" (near 2^63).
std::uint64_t limit_in(const fs::path& file) {
  std::ifstream in(file);
  std::uint64_t bytes = 0;
  if (!(in >> bytes) || bytes >= (std::uint64_t{1} << 62)) return 0;
  return bytes;
}

/// `QUOTA PERIOD` in microseconds, as processors; 0 where the file is absent or its quota is `max`.
double quota_in(const fs::path& file) {
  std::ifstream in(file);
  double quota = 0, period = 0;
  return in >> quota >> period && quota > 0 && period > 0 ? quota / period : 0;
}

/// The least that `read` finds in the files of that name from `group` up to the root; 0 where it finds none.
template <class Read>
auto least_above(const fs::path& mount, const fs::path& group, const char* name, const Read& read) {
  decltype(read(fs::path())) least = 0;
  fs::path at = group.relative_path();
  for (;;) {
    const auto here = read(mount / at / name);
    if (here != 0) least = least == 0 ? here : std::min(least, here);
    if (at.empty()) return least;
    at = at.parent_path();
  }
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
  return least_above(mount, group, "memory.max", limit_in);
}

double cgroup_cores(const fs::path& mount, const fs::path& group) {
  return least_above(mount, group, "cpu.max", quota_in);
}

std::uint64_t machine_memory_bytes() {
  const auto pages = static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES));
  std::uint64_t bytes = pages * static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
  for (const std::uint64_t limit : {cgroup_limit_bytes(kMount, own_group()),
                                    limit_in(fs::path(kMount) / "memory/memory.limit_in_bytes")})
    if (limit != 0) bytes = std::min(bytes, limit);
  return bytes;
}

std::uint64_t run_memory_bytes(std::uint64_t asked) {
  if (asked > 0) return asked;
  const std::uint64_t machine = machine_memory_bytes();
  return machine - machine / 10;
}

int machine_cores() {
  cpu_set_t allowed;
  int cores = sched_getaffinity(0, sizeof allowed, &allowed) == 0
                  ? CPU_COUNT(&allowed)
                  : static_cast<int>(std::thread::hardware_concurrency());  // a machine of over 1,024
  const double quota = cgroup_cores(kMount, own_group());
  if (quota > 0) cores = std::min(cores, static_cast<int>(quota));
  return std::max(1, cores);
}

std::uint64_t raise_descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlimit raised{limit.rlim_max, limit.rlim_max};
  return setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised.rlim_cur : limit.rlim_cur;
}

}  // namespace finetuned::base
