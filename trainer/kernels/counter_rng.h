#pragma once

#include <cstdint>

namespace finetuned::kernels {

/// SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014): a bijection of 64 bits that looks random.
constexpr std::uint64_t mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ull;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

/// A key from parts, in order. Random numbers are functions of a key and a counter: there is no state to
/// carry, and none that could depend on the batch or the threads.
constexpr std::uint64_t random_key(std::uint64_t seed) {
  return mix(seed);
}
template <class... Parts>
constexpr std::uint64_t random_key(std::uint64_t seed, std::uint64_t part, Parts... parts) {
  return random_key(mix(seed) ^ part, static_cast<std::uint64_t>(parts)...);
}

/// Number `counter` of the key's sequence.
constexpr std::uint64_t random_bits(std::uint64_t key, std::uint64_t counter) {
  return mix(key ^ (counter * 0xd1342543de82ef95ull));
}
/// Uniform in [0, 1), 53 bits.
constexpr double random_uniform(std::uint64_t key, std::uint64_t counter) {
  return static_cast<double>(random_bits(key, counter) >> 11) * 0x1p-53;
}

}  // namespace finetuned::kernels
