// How fast this machine reads and copies memory: the limit of decoding, which reads every weight once a
// token.
//
//     bench_bandwidth [THREADS [MIB]]
//
// Prints a JSON line: read_gb_s (each thread sums its part of a buffer) and copy_gb_s (memcpy of one half to
// the other, bytes read plus bytes written), the best of several, 1 GB = 1e9 bytes.

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <sys/mman.h>
#include <thread>
#include <vector>

namespace {

constexpr int kRepeats = 8;

// 64 bytes: one AVX-512 load, two of AVX2, four of SSE2.
using Wide = std::uint64_t __attribute__((vector_size(64), may_alias));

/// Of all words, so that every byte is read. `count`: a multiple of 4.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
std::uint64_t
sum(const Wide* data, std::size_t count) {
  Wide a{}, b{}, c{}, d{};
  for (std::size_t i = 0; i < count; i += 4) {
    a += data[i];
    b += data[i + 1];
    c += data[i + 2];
    d += data[i + 3];
  }
  a += b + c + d;
  std::uint64_t total = 0;
  for (int i = 0; i < 8; ++i)
    total += a[i];
  return total;
}

/// Seconds of `work(thread)` on all threads at once, the best of kRepeats.
double best_seconds(int threads, const std::function<void(int)>& work) {
  double best = 1e30;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    const auto start = std::chrono::steady_clock::now();
    std::vector<std::thread> others;
    for (int thread = 1; thread < threads; ++thread)
      others.emplace_back(work, thread);
    work(0);
    for (std::thread& other : others)
      other.join();
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  return best;
}

}  // namespace

int main(int argc, char** argv) {
  const int threads = argc > 1 ? std::atoi(argv[1]) : static_cast<int>(std::thread::hardware_concurrency());
  const long mib = argc > 2 ? std::atol(argv[2]) : 1024;
  if (threads < 1 || threads > 1024 || mib < 1 || mib > 1048576) {
    std::fputs("usage: bench_bandwidth [THREADS [MIB]]\n", stderr);
    return 2;
  }
  const std::size_t bytes = static_cast<std::size_t>(mib) << 20;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    std::perror("bench_bandwidth");
    return 1;
  }
  madvise(memory, bytes, MADV_HUGEPAGE);  // fewer page walks, where the system has them
  std::memset(memory, 1, bytes);

  const auto* wide = static_cast<const Wide*>(memory);
  const std::size_t part = bytes / sizeof(Wide) / static_cast<std::size_t>(threads) / 4 * 4;
  std::vector<std::uint64_t> sums(static_cast<std::size_t>(threads));
  const double read = best_seconds(threads, [&](int thread) {
    const auto at = static_cast<std::size_t>(thread);
    sums[at] = sum(wide + at * part, part);
  });

  auto* to = static_cast<std::byte*>(memory) + bytes / 2;
  const std::size_t piece = bytes / 2 / static_cast<std::size_t>(threads);
  const double copy = best_seconds(threads, [&](int thread) {
    const std::size_t at = static_cast<std::size_t>(thread) * piece;
    std::memcpy(to + at, static_cast<const std::byte*>(memory) + at, piece);
  });

  std::uint64_t checksum = 0;
  for (const std::uint64_t one : sums)
    checksum += one;
  const double read_bytes = static_cast<double>(part * sizeof(Wide)) * threads;
  std::printf(
      "{\"threads\": %d, \"mib\": %ld, \"read_gb_s\": %.3f, \"copy_gb_s\": %.3f, \"checksum\": %llu}\n",
      threads, mib, read_bytes / read / 1e9, 2.0 * static_cast<double>(piece) * threads / copy / 1e9,
      static_cast<unsigned long long>(checksum));
  return 0;
}
