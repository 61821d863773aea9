#include "trainer/collective/shared_memory.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <ctime>
#include <linux/futex.h>
#include <new>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

#include "base/errors.h"
#include "base/expects.h"

namespace finetuned::collective {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::size_t kControlBytes = 4096;
constexpr std::size_t kChunkFloats = std::size_t{128} << 10;
constexpr std::size_t kMessageBytes = 1024;
constexpr std::uint32_t kMagic = 0x66743031;
constexpr milliseconds kSlice{100};  // of a wait, after which the others are looked after
#ifdef MFD_NOEXEC_SEAL
constexpr unsigned kNoExecution = MFD_NOEXEC_SEAL;
#else
constexpr unsigned kNoExecution = 0x0008;  // Linux 6.3
#endif

static_assert(std::atomic<std::uint32_t>::is_always_lock_free && sizeof(std::atomic<std::uint32_t>) == 4);

/// Sleeps while `word` holds `value`, for at most `limit`. std::atomic::wait is for the threads of one
/// process only.
void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t value, milliseconds limit) {
  timespec time{};
  time.tv_sec = limit.count() / 1000;
  time.tv_nsec = limit.count() % 1000 * 1'000'000;
  syscall(SYS_futex, &word, FUTEX_WAIT, value, &time, nullptr, 0);
}

void futex_wake_all(std::atomic<std::uint32_t>& word) {
  syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

[[noreturn]] void refuse_memory(int error) {
  throw std::system_error(error, std::generic_category(), "there is no group's memory at the descriptor");
}

std::size_t length_of(int descriptor) {
  struct stat status {};
  if (fstat(descriptor, &status) != 0) refuse_memory(errno);
  if (!S_ISREG(status.st_mode) || status.st_size < static_cast<off_t>(kControlBytes)) refuse_memory(EINVAL);
  return static_cast<std::size_t>(status.st_size);
}

/// Never to be executed, where the kernel knows of that: some refuse memory that might be.
int make_memory_file() {
  constexpr const char* kName = "finetuned-group";
  const int made = memfd_create(kName, MFD_CLOEXEC | kNoExecution);
  return made < 0 && errno == EINVAL ? memfd_create(kName, MFD_CLOEXEC) : made;
}

base::FileDescriptor memory_file(int size) {
  base::expects(size >= 1 && size <= kMostRanks, "a group has 1 to 8 ranks");
  base::FileDescriptor descriptor(make_memory_file());
  if (!descriptor.valid() || ftruncate(descriptor.get(), static_cast<off_t>(SharedSegment::bytes(size))) != 0)
    throw std::system_error(errno, std::generic_category(), "memory for a group of workers cannot be made");
  return descriptor;
}

}  // namespace

/// Starts as zeros: the mapping's.
struct SharedSegment::Control {
  std::atomic<std::uint32_t> arrived;              // ranks that came to the present meeting
  std::atomic<std::uint32_t> round;                // meetings that are over
  std::atomic<std::uint32_t> present[kMostRanks];  // the meeting that a rank came to last, counted from 1
  std::atomic<std::uint32_t> claimed;              // somebody writes, or wrote, the words below
  std::atomic<std::uint32_t> failed;               // rank + 1 of who wrote them
  std::atomic<std::uint32_t> stop;                 // 1: the work is to stop
  std::uint32_t magic;
  std::int32_t owner;
  std::int32_t size;
  Kind kind;
  char message[kMessageBytes];
};

std::size_t SharedSegment::bytes(int size) {
  return kControlBytes + 2 * static_cast<std::size_t>(size) * kMostGathered +
         (kMostParts + 1) * kChunkFloats * sizeof(float);
}

SharedSegment::SharedSegment(base::FileDescriptor&& descriptor, std::size_t bytes)
    : descriptor_(std::move(descriptor)), mapped_(bytes) {
  memory_ = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor_.get(), 0);
  if (memory_ == MAP_FAILED) throw std::bad_alloc();
}

SharedSegment::SharedSegment(int size) : SharedSegment(memory_file(size), bytes(size)) {
  static_assert(sizeof(Control) <= kControlBytes);
  size_ = size;
  new (memory_) Control{};
  control().magic = kMagic;
  control().owner = getpid();
  control().size = size;
}

SharedSegment::SharedSegment(base::FileDescriptor descriptor)
    : SharedSegment(std::move(descriptor), length_of(descriptor.get())) {
  const Control& shared = control();
  if (shared.magic != kMagic || shared.size < 1 || shared.size > kMostRanks || bytes(shared.size) != mapped_) refuse_memory(EINVAL);
  size_ = shared.size;
}

SharedSegment::~SharedSegment() {
  munmap(memory_, mapped_);
}

int SharedSegment::owner() const {
  return control().owner;
}

std::byte* SharedSegment::slot(int set, int rank) const {
  return static_cast<std::byte*>(memory_) + kControlBytes +
         static_cast<std::size_t>(set * size_ + rank) * kMostGathered;
}

float* SharedSegment::part(std::size_t index) const {
  return reinterpret_cast<float*>(slot(2, 0)) + index * kChunkFloats;
}

float* SharedSegment::sum() const {
  return part(kMostParts);
}

void SharedSegment::fail(int rank, Kind kind, const std::string& message) {
  Control& shared = control();
  if (shared.claimed.exchange(1) != 0) return;
  shared.kind = kind;
  const std::size_t length = std::min(message.size(), kMessageBytes - 1);
  std::memcpy(shared.message, message.data(), length);
  shared.message[length] = '\0';
  shared.failed = static_cast<std::uint32_t>(rank) + 1;
  futex_wake_all(shared.round);
}

SharedSegment::Failure SharedSegment::failure() const {
  const Control& shared = control();
  const std::uint32_t failed = shared.failed;
  if (failed == 0) return {-1, Kind::kFailed, ""};
  return {static_cast<int>(failed) - 1, shared.kind, shared.message};
}

void SharedSegment::ask_to_stop() {
  control().stop = 1;
}

bool SharedSegment::stop_asked() const {
  return control().stop != 0;
}

SharedMemory::SharedMemory(SharedSegment& segment, int rank, milliseconds timeout,
                           std::function<void()> still_there)
    : segment_(segment), rank_(rank), timeout_(timeout), still_there_(std::move(still_there)) {
  base::expects(rank >= 0 && rank < segment.size(), "a rank is of its group");
}

void SharedMemory::meet() {
  SharedSegment::Control& shared = segment_.control();
  const std::uint32_t round = shared.round;
  shared.present[rank_] = round + 1;
  if (shared.arrived.fetch_add(1) + 1 < static_cast<std::uint32_t>(size())) return wait_for(round);
  shared.arrived = 0;
  shared.round = round + 1;
  futex_wake_all(shared.round);
}

void SharedMemory::check_peers() {
  throw_failure();  // its own words are better than how it ended
  still_there_();
}

/// Where a rank left word that it cannot go on.
void SharedMemory::throw_failure() const {
  const SharedSegment::Failure failure = segment_.failure();
  if (failure.rank < 0) return;
  const std::string message = rank_name(failure.rank, size()) + ": " + failure.message;
  if (failure.kind == SharedSegment::Kind::kRefused) throw base::UsageError(message);
  throw PeerLost(message);
}

/// Likewise, where the meeting after `round` was not over before.
void SharedMemory::throw_failure(std::uint32_t round) const {
  if (segment_.failure().rank >= 0 && segment_.control().round == round) throw_failure();
}

void SharedMemory::wait_for(std::uint32_t round) {
  SharedSegment::Control& shared = segment_.control();
  const steady_clock::time_point deadline = steady_clock::now() + timeout_;
  while (shared.round == round) {
    throw_failure(round);
    const auto left = std::chrono::duration_cast<milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) {
      int silent = 0;
      while (silent < size() - 1 && shared.present[silent] == round + 1)
        ++silent;
      throw PeerLost(silence_of(silent, size(), timeout_));
    }
    futex_wait(shared.round, round, std::min(left + milliseconds(1), kSlice));
    if (shared.round != round) return;
    try {
      still_there_();
    } catch (const PeerLost&) {
      throw_failure(round);              // its own words are better
      if (shared.round == round) throw;  // else it came, and only then ended
    }
  }
}

void SharedMemory::gather(std::span<const std::byte> mine, std::span<std::byte> all) {
  base::expects(mine.size() <= kMostGathered && all.size() == mine.size() * static_cast<std::size_t>(size()),
                "what is gathered fits its slots");
  set_ = 1 - set_;
  std::copy(mine.begin(), mine.end(), segment_.slot(set_, rank_));
  meet();
  for (int other = 0; other < size(); ++other)
    std::copy_n(segment_.slot(set_, other), mine.size(),
                all.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(other) * mine.size()));
}

void SharedMemory::sum_in_order(std::span<const std::span<const float>> parts, std::span<float> total) {
  const auto counts = gather_values(*this, static_cast<std::uint32_t>(parts.size()));
  std::size_t first = 0, count = 0;
  for (std::size_t other = 0; other < counts.size(); ++other) {
    if (static_cast<int>(other) < rank_) first += counts[other];
    count += counts[other];
  }
  base::expects(count >= 1 && count <= kMostParts, "a sum has 1 to 8 parts");
  for (std::size_t begin = 0; begin < total.size(); begin += kChunkFloats) {
    const std::size_t length = std::min(kChunkFloats, total.size() - begin);
    for (std::size_t i = 0; i < parts.size(); ++i) {
      base::expects(parts[i].size() == total.size(), "a part is as long as the sum");
      std::copy_n(parts[i].begin() + static_cast<std::ptrdiff_t>(begin), length, segment_.part(first + i));
    }
    meet();
    const auto ranks = static_cast<std::size_t>(size()), rank = static_cast<std::size_t>(rank_);
    const std::size_t from = length * rank / ranks, slice = length * (rank + 1) / ranks - from;
    for (std::size_t i = 0; i < count; ++i)
      add_part({segment_.part(i) + from, slice}, i == 0, {segment_.sum() + from, slice});
    meet();
    std::copy_n(segment_.sum(), length, total.begin() + static_cast<std::ptrdiff_t>(begin));
  }
}

}  // namespace finetuned::collective
