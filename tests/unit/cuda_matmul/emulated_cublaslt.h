#pragma once

#include <cstdint>
#include <functional>

// What the tests ask of the library that stands in for cuBLASLt (emulated_cublaslt.cpp).

namespace finetuned::emulated_cublaslt {

struct Algorithm {
  std::uint64_t columns = 0;  ///< of the product that it was proposed for, which are the engine's rows
  std::uint64_t place = 0;    ///< among the proposals
};

/// Products are given to `start` to be done, as the library gives them to a stream.
void start_by(std::function<void(std::function<void()>)> start);
/// Whether algorithms are refused for products of fewer columns than they were proposed for, all of them or the first alone.
enum class Refuses { kNone, kFirst, kAll };
void refuse(Refuses what);
/// Of the last product.
Algorithm last_algorithm();
/// How often proposals were asked for.
int questions();

}  // namespace finetuned::emulated_cublaslt
