#include "tests/cuda_emulator/emulator.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <setjmp.h>
#include <stdexcept>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

namespace finetuned::cuda_emulator {

namespace {

constexpr std::size_t kStackBytes = 64 << 10;
constexpr unsigned kWarp = 32;
constexpr std::size_t kMostExchanged = 64;

enum class State { kReady, kAtBarrier, kInWarp, kEnded };

struct Fiber {
  Thread thread;
  State state = State::kReady;
  bool begun = false;
  ucontext_t context;  // where it begins
  jmp_buf place;       // where it goes on
  std::unique_ptr<std::byte[]> stack;
};

struct Warp {
  std::byte slots[2][kWarp * kMostExchanged];  // by turns: the next exchange may begin before all have read
  int turn = 0;
};

struct Block {
  std::vector<Fiber> fibers;
  std::vector<Warp> warps;
  std::byte* shared = nullptr;  // ends at a page that cannot be touched
  std::size_t shared_bytes = 0;
  const std::function<void()>* kernel = nullptr;
  jmp_buf scheduler;
  std::size_t running = 0;
};

Block* block = nullptr;
std::mt19937_64 order(1);

// Contexts are begun by ucontext and changed by jumps, which save no signal mask: that is a system call each.
void fiber_main() {
  (*block->kernel)();
  block->fibers[block->running].state = State::kEnded;
  _longjmp(block->scheduler, 1);
}

void wait_as(State state) {
  Fiber& me = block->fibers[block->running];
  me.state = state;
  if (_setjmp(me.place) == 0) _longjmp(block->scheduler, 1);
}

void go_on(Fiber& fiber) {
  if (_setjmp(block->scheduler) != 0) return;
  if (fiber.begun) _longjmp(fiber.place, 1);
  fiber.begun = true;
  setcontext(&fiber.context);
}

/// Fibers [begin, end) go on once all of them that have not ended wait as `state`.
bool release_all(State state, std::size_t begin, std::size_t end) {
  bool some = false;
  for (std::size_t i = begin; i < end; ++i) {
    if (block->fibers[i].state == State::kEnded) continue;
    if (block->fibers[i].state != state) return false;
    some = true;
  }
  for (std::size_t i = begin; i < end && some; ++i)
    if (block->fibers[i].state == state) block->fibers[i].state = State::kReady;
  return some;
}

void release_waiting() {
  const std::size_t count = block->fibers.size();
  for (std::size_t warp = 0; warp < block->warps.size(); ++warp)
    if (release_all(State::kInWarp, warp * kWarp, std::min(count, (warp + 1) * kWarp))) block->warps[warp].turn ^= 1;
  release_all(State::kAtBarrier, 0, count);
}

/// A warp with threads that can go on: `last`, as long as it has any, so that it runs ahead of the others as far as nothing holds it.
std::size_t next_warp(std::size_t last) {
  std::vector<std::size_t> able;
  for (std::size_t i = 0; i < block->fibers.size(); ++i)
    if (block->fibers[i].state == State::kReady && (able.empty() || able.back() != i / kWarp)) able.push_back(i / kWarp);
  if (able.empty() || std::find(able.begin(), able.end(), last) != able.end()) return last;
  return able[order() % able.size()];
}

void run_block() {
  std::vector<std::size_t> turns(block->fibers.size());
  for (std::size_t i = 0; i < turns.size(); ++i) turns[i] = i;
  std::size_t warp = order() % block->warps.size();
  while (true) {
    std::shuffle(turns.begin(), turns.end(), order);
    warp = next_warp(warp);
    bool ran = false;
    for (const std::size_t i : turns) {
      if (i / kWarp != warp || block->fibers[i].state != State::kReady) continue;
      ran = true;
      block->running = i;
      go_on(block->fibers[i]);
    }
    release_waiting();
    if (ran) continue;
    const bool ended = std::all_of(block->fibers.begin(), block->fibers.end(),
                                   [](const Fiber& fiber) { return fiber.state == State::kEnded; });
    if (ended) return;
    const bool ready = std::any_of(block->fibers.begin(), block->fibers.end(),
                                   [](const Fiber& fiber) { return fiber.state == State::kReady; });
    if (!ready) throw std::logic_error("a kernel's threads wait for each other at different places");
  }
}

void begin_block(Index at, Index grid, Index size) {
  for (std::size_t i = 0; i < block->fibers.size(); ++i) {
    Fiber& fiber = block->fibers[i];
    const auto number = static_cast<unsigned>(i);
    fiber.thread = {{number % size.x, number / size.x % size.y, number / size.x / size.y}, at, size, grid, number % kWarp};
    fiber.state = State::kReady;
    fiber.begun = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, fiber_main, 0);
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (std::size_t i = 0; i + sizeof nan <= block->shared_bytes; i += sizeof nan) std::memcpy(block->shared + i, &nan, sizeof nan);
}

std::map<void*, std::pair<void*, std::size_t>> allocations;  // what is given out: what was mapped

}  // namespace

const Thread& self() { return block->fibers[block->running].thread; }

void run_grid(Index grid, Index size, std::size_t shared_bytes, const std::function<void()>& kernel) {
  const std::size_t threads = std::size_t{size.x} * size.y * size.z;
  if (threads == 0 || threads > 1024 || shared_bytes > 227 << 10) throw std::logic_error("no GPU runs such a block");
  if (grid.x > 0x7fffffff || grid.y > 65'535 || grid.z > 65'535) throw std::logic_error("no GPU runs such a grid");
  Block mine;
  const std::unique_ptr<void, void (*)(void*)> shared(shared_bytes > 0 ? allocate(shared_bytes) : nullptr, release);
  mine.fibers.resize(threads);
  mine.warps.resize((threads + kWarp - 1) / kWarp);
  mine.shared = static_cast<std::byte*>(shared.get());
  mine.shared_bytes = shared_bytes;
  mine.kernel = &kernel;
  for (Fiber& fiber : mine.fibers) fiber.stack = std::make_unique_for_overwrite<std::byte[]>(kStackBytes);
  block = &mine;
  for (unsigned z = 0; z < grid.z; ++z)
    for (unsigned y = 0; y < grid.y; ++y)
      for (unsigned x = 0; x < grid.x; ++x) {
        begin_block({x, y, z}, grid, size);
        run_block();
      }
  block = nullptr;
}

namespace {
std::vector<std::function<void()>>* recording = nullptr;
}

void start(std::function<void()> work) {
  if (recording) return recording->push_back(std::move(work));
  work();
}
void record_into(std::vector<std::function<void()>>* kept) { recording = kept; }

void wait_for_block() { wait_as(State::kAtBarrier); }

const std::byte* exchange_in_warp(const void* mine, std::size_t bytes) {
  if (bytes > kMostExchanged) throw std::logic_error("too much is exchanged at once");
  Warp& warp = block->warps[block->running / kWarp];
  std::byte* slots = warp.slots[warp.turn];
  std::memcpy(slots + self().lane * bytes, mine, bytes);
  wait_as(State::kInWarp);
  return slots;
}

std::byte* dynamic_shared() { return block->shared; }

void check_aligned(const void* at, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(at) % bytes != 0) throw std::logic_error("what is read at once is not aligned");
}

void set_seed(std::uint64_t seed) { order.seed(seed); }

void* allocate(std::size_t bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t rounded = (bytes + 15) / 16 * 16, inner = (rounded + page - 1) / page * page;
  void* mapped = mmap(nullptr, inner + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  auto* start = static_cast<std::byte*>(mapped);
  mprotect(start, page, PROT_NONE);
  mprotect(start + page + inner, page, PROT_NONE);
  void* given = start + page + inner - rounded;
  allocations[given] = {mapped, inner + 2 * page};
  return given;
}

void release(void* memory) {
  const auto found = allocations.find(memory);
  if (found == allocations.end()) return;
  munmap(found->second.first, found->second.second);
  allocations.erase(found);
}

void load_matrices_transposed(std::uint32_t (&words)[4], const void* row) {
  check_aligned(row, 16);
  const auto* const at = static_cast<const std::byte*>(row);
  if (at < block->shared || at + 16 > block->shared + block->shared_bytes) throw std::logic_error("a matrix's row is not in shared memory");
  const std::uint16_t* rows[kWarp];
  std::memcpy(rows, exchange_in_warp(&row, sizeof row), sizeof rows);
  const unsigned column = self().lane / 4, pair = self().lane % 4 * 2;
  for (unsigned matrix = 0; matrix < 4; ++matrix)
    words[matrix] = rows[matrix * 8 + pair][column] | std::uint32_t{rows[matrix * 8 + pair + 1][column]} << 16;
}

void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]) {
  struct Fragments {
    std::uint32_t a[4], b[2];
  } mine{};
  std::memcpy(mine.a, a, sizeof a);
  std::memcpy(mine.b, b, sizeof b);
  Fragments all[kWarp];
  std::memcpy(all, exchange_in_warp(&mine, sizeof mine), sizeof all);
  const auto half = [](std::uint32_t pair, unsigned which) {
    return std::bit_cast<float>(pair >> (16 * which) << 16);
  };
  const auto a_at = [&](unsigned row, unsigned k) {
    return half(all[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2], k % 2);
  };
  const auto b_at = [&](unsigned k, unsigned column) { return half(all[column * 4 + k % 8 / 2].b[k / 8], k % 2); };
  const unsigned group = self().lane / 4, pair = self().lane % 4;
  for (unsigned i = 0; i < 4; ++i) {
    const unsigned row = group + i / 2 * 8, column = pair * 2 + i % 2;
    double sum = d[i];
    for (unsigned k = 0; k < 16; ++k) sum += static_cast<double>(a_at(row, k)) * static_cast<double>(b_at(k, column));
    d[i] = static_cast<float>(sum);
  }
}

}  // namespace finetuned::cuda_emulator
