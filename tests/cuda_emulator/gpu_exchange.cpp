// NCCL's twin on the emulator: what ranks send goes through their group, which shares it with all.

#include "trainer/collective/gpu_exchange.h"

#include <algorithm>
#include <cstring>
#include <vector>

namespace finetuned::collective {

namespace {

struct Letter {
  std::int32_t from, to;
  std::int64_t count;
};

/// Everybody's bytes, in rank order.
std::vector<std::vector<std::byte>> share(Collective& group, const std::vector<std::byte>& mine) {
  const auto sizes = gather_values(group, static_cast<std::int64_t>(mine.size()));
  const std::size_t most = static_cast<std::size_t>(*std::max_element(sizes.begin(), sizes.end()));
  std::vector<std::vector<std::byte>> all(sizes.size());
  constexpr std::size_t kPiece = 2048;
  for (std::size_t at = 0; at < most; at += kPiece) {
    std::vector<std::byte> piece(kPiece), of_all(kPiece * sizes.size());
    if (at < mine.size()) std::memcpy(piece.data(), mine.data() + at, std::min(kPiece, mine.size() - at));
    group.gather(piece, of_all);
    for (std::size_t rank = 0; rank < sizes.size(); ++rank)
      all[rank].insert(all[rank].end(), of_all.begin() + static_cast<std::ptrdiff_t>(rank * kPiece),
                       of_all.begin() + static_cast<std::ptrdiff_t>((rank + 1) * kPiece));
  }
  return all;
}

}  // namespace

struct GpuExchange::Joined {
  Collective& group;
};

GpuExchange::GpuExchange(std::unique_ptr<Joined> joined) : joined_(std::move(joined)) {}
GpuExchange::~GpuExchange() = default;

std::unique_ptr<GpuExchange> GpuExchange::join(Collective& group, const GpuId& gpu, void*) {
  const auto all = gather_values(group, gpu);
  for (std::size_t i = 0; i < all.size(); ++i)
    if (std::count(all.begin(), all.end(), all[i]) > 1) return nullptr;
  return std::unique_ptr<GpuExchange>(new GpuExchange(std::make_unique<Joined>(Joined{group})));
}

void GpuExchange::trade(std::span<const Outgoing> out, std::span<const Incoming> in) {
  std::vector<std::byte> mine;
  const auto append = [&mine](const void* from, std::size_t bytes) {
    const auto* const at = static_cast<const std::byte*>(from);
    mine.insert(mine.end(), at, at + bytes);
  };
  for (const Outgoing& one : out) {
    const Letter letter{joined_->group.rank(), one.to, static_cast<std::int64_t>(one.values.size())};
    append(&letter, sizeof letter);
    append(one.values.data(), one.values.size_bytes());
  }
  append(std::vector<std::byte>(sizeof(Letter)).data(), sizeof(Letter));  // count 0: the end
  const auto all = share(joined_->group, mine);
  std::vector<std::size_t> read(all.size());
  for (const Incoming& one : in) {
    const auto& from = all[static_cast<std::size_t>(one.from)];
    std::size_t& at = read[static_cast<std::size_t>(one.from)];
    for (bool found = false; !found;) {
      Letter letter{};
      std::memcpy(&letter, from.data() + at, sizeof letter);
      at += sizeof letter;
      if (letter.count == 0) throw PeerLost("nothing was sent for what is expected");
      found = letter.to == joined_->group.rank();
      if (found && letter.count != static_cast<std::int64_t>(one.values.size())) throw PeerLost("another number of values is expected");
      if (found) std::memcpy(one.values.data(), from.data() + at, one.values.size_bytes());
      at += static_cast<std::size_t>(letter.count) * sizeof(float);
    }
  }
}

}  // namespace finetuned::collective
