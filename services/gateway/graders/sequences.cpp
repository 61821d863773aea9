#include "services/gateway/graders/sequences.h"

#include <bit>
#include <map>
#include <set>
#include <vector>

namespace finetuned::graders {

namespace {

constexpr std::size_t kWordBits = 64;
using Bits = std::vector<std::uint64_t>;

/// Where each of a's symbols stands in a; only symbols that b has, too.
std::map<std::uint32_t, Bits> positions(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b) {
  const std::set<std::uint32_t> wanted(b.begin(), b.end());
  std::map<std::uint32_t, Bits> places;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!wanted.contains(a[i])) continue;
    Bits& bits = places[a[i]];
    if (bits.empty()) bits.resize((a.size() + kWordBits - 1) / kWordBits);
    bits[i / kWordBits] |= std::uint64_t{1} << (i % kWordBits);
  }
  return places;
}

}  // namespace

std::size_t lcs_length(std::span<const std::uint32_t> a, std::span<const std::uint32_t> b) {
  const auto places = positions(a, b);
  // A zero at i: the longest common subsequence with b so far grows at a[i].
  Bits row((a.size() + kWordBits - 1) / kWordBits, ~std::uint64_t{0});
  for (const std::uint32_t symbol : b) {
    const auto found = places.find(symbol);
    if (found == places.end()) continue;
    std::uint64_t carry = 0;
    for (std::size_t w = 0; w < row.size(); ++w) {
      const std::uint64_t old = row[w], matched = old & found->second[w];
      const std::uint64_t with_carry = matched + carry;
      const std::uint64_t sum = old + with_carry;
      carry = (with_carry < carry || sum < old) ? 1 : 0;
      row[w] = sum | (old & ~found->second[w]);
    }
  }
  std::size_t length = 0;
  for (std::size_t i = 0; i < a.size(); ++i) length += (row[i / kWordBits] >> (i % kWordBits) & 1) == 0;
  return length;
}

}  // namespace finetuned::graders
