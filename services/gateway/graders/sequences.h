#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace finetuned::graders {

/// The length of the longest common subsequence of two sequences of symbols. Bit-parallel (Hyyro, "Bit-parallel LCS-length
/// computation revisited", 2004): sizes product / 64 steps, and as many bits of memory as a's symbols that b has, times a's
/// size. Callers bound both.
std::size_t lcs_length(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b);

}  // namespace finetuned::graders
