#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

namespace finetuned::collective {

inline constexpr int kMostRanks = 8;
inline constexpr std::size_t kMostParts = 8;        ///< summed at once, those of all ranks together
inline constexpr std::size_t kMostGathered = 4096;  ///< bytes that a rank may give to gather()
inline constexpr std::chrono::minutes kPeerTimeout{
    10};  ///< what a rank waits for another unless told otherwise

/// A participant died, went silent or left early: the group is over. The message names it.
struct PeerLost : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The participants of one computation, each a process (rank 0, 1, ... size - 1). Every operation is called
/// by all of them in the same order with sizes that fit each other, or none of them gets out of it well: it
/// throws PeerLost on each, at the latest after the group's timeout. One thread of a process at a time. No
/// operation waits busily.
class Collective {
 public:
  virtual ~Collective() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// Ranks on this machine, which share its memory and cores; 1 where that is not known.
  virtual int local_size() const = 0;
  /// What a rank waits for another at most.
  virtual std::chrono::milliseconds timeout() const = 0;
  /// To be asked now and then while a rank waits for others by another way: throws PeerLost where it knows of a lost one, by
  /// its own words where it left some.
  virtual void check_peers() {}
  /// Leaves word for all ranks that the work is to stop soon, which stop_asked() then says on each; where ranks have no memory
  /// in common, nothing is heard. What they do about it is the work's affair.
  virtual void ask_to_stop() {}
  virtual bool stop_asked() const { return false; }
  /// Memory of this machine that the group itself takes.
  virtual std::size_t shared_bytes() const = 0;

  /// total = (((part 0 + part 1) + part 2) + ...): rank 0's parts in their order, then rank 1's, and so on:
  /// the same bits on every rank and for every way of dealing the parts to ranks. Each part has total.size()
  /// elements; a rank may have none, but one part there is in all, and at most kMostParts (expects()).
  /// `total` may be one of the parts.
  virtual void sum_in_order(std::span<const std::span<const float>> parts, std::span<float> total) = 0;

  /// all = the `mine` of every rank, in rank order. mine.size() is the same on all, <= kMostGathered;
  /// all.size() is size() * mine.size() (expects()). Also the barrier: nobody returns before everybody
  /// called.
  virtual void gather(std::span<const std::byte> mine, std::span<std::byte> all) = 0;
};

/// gather() of plain values.
template <class Value>
std::vector<Value> gather_values(Collective& group, const Value& mine) {
  static_assert(std::is_trivially_copyable_v<Value> && sizeof(Value) <= kMostGathered);
  std::vector<Value> all(static_cast<std::size_t>(group.size()));
  group.gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)));
  return all;
}

/// total[i] += part[i], or = part[i] where `first`.
void add_part(std::span<const float> part, bool first, std::span<float> total);

/// `rank 1 of 3`: what messages call a participant.
std::string rank_name(int rank, int size);

/// What is said of a rank that was waited for in vain.
std::string silence_of(int rank, int size, std::chrono::milliseconds waited);

}  // namespace finetuned::collective
