#pragma once

// Runs CUDA kernels on the CPU, a thread at a time, to prove their arithmetic and indexing without a GPU. The kernels' files
// are compiled as C++ against the headers beside this one, which stand in for the toolkit's.
//
// Every thread of a block is a coroutine on the caller's thread. A warp, drawn by lot, runs ahead of the others until nothing of it can go
// on, and its threads in an order that is shuffled anew after each wait: a missing barrier, before what is read as well as behind it,
// shows as a difference between seeds. Device memory ends at a page that cannot be touched and begins after one, so an access beyond
// it is a fault; so does dynamic shared memory, which is filled with NaN before each block. Not shown: speed, bank conflicts, memory order,
// barriers that are met at different places, masks of exchanges.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace finetuned::cuda_emulator {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

/// What the running coroutine knows of itself.
struct Thread {
  Index thread, block, block_size, grid_size;
  unsigned lane = 0;
};
const Thread& self();

void run_grid(Index grid, Index block, std::size_t shared_bytes, const std::function<void()>& kernel);

/// What is started on a stream: done at once, or, while record_into() says so, kept there instead. Null: no more.
void start(std::function<void()> work);
void record_into(std::vector<std::function<void()>>* kept);

void wait_for_block();
/// `bytes` of each of the warp's 32 lanes in the order of lanes, valid until the next exchange of the warp. All lanes that have
/// not ended take part; those that have read as zeros.
const std::byte* exchange_in_warp(const void* mine, std::size_t bytes);
std::byte* dynamic_shared();
/// Throws where a GPU could not read `bytes` at once.
void check_aligned(const void* at, std::size_t bytes);

/// The order of threads from now on.
void set_seed(std::uint64_t seed);

/// The names of the GPUs that this process sees; one at first.
void show_gpus(std::vector<std::string> named);

/// What multiplies on them (tensor::Cuda::library_version()).
void show_library(std::string version);

/// Whether all processes have one GPU instead of one each.
void share_one_gpu(bool shared);

void* allocate(std::size_t bytes);
void release(void* memory);

/// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32: d += a b, fragments as in the PTX ISA.
void mma_m16n8k16(float (&d)[4], const std::uint32_t (&a)[4], const std::uint32_t (&b)[2]);

/// ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16: lane l's `row` is row l % 8 of matrix l / 8.
void load_matrices_transposed(std::uint32_t (&words)[4], const void* row);

}  // namespace finetuned::cuda_emulator
