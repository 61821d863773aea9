#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "base/files.h"
#include "trainer/collective/collective.h"

namespace finetuned::collective {

/// Memory in which the ranks of one machine meet: children that fork() makes have it at the same address, programs that are
/// begun anew map its descriptor. Each process unmaps its own by destroying it.
class SharedSegment {
 public:
  explicit SharedSegment(int size);  ///< of so many ranks. Throws std::bad_alloc, std::system_error.
  /// Another process's, by a descriptor of it. Throws std::system_error for what is none.
  explicit SharedSegment(base::FileDescriptor descriptor);
  ~SharedSegment();
  SharedSegment(const SharedSegment&) = delete;
  SharedSegment& operator=(const SharedSegment&) = delete;

  int descriptor() const { return descriptor_.get(); }
  int owner() const;  ///< the process that made it
  int size() const { return size_; }
  std::size_t bytes() const { return mapped_; }
  static std::size_t bytes(int size);

  enum class Kind : std::uint32_t { kFailed, kRefused };
  /// Leaves word that `rank` cannot go on, and wakes those who wait. Only the first word is kept.
  void fail(int rank, Kind kind, const std::string& message);
  struct Failure {
    int rank;
    Kind kind;
    std::string message;
  };
  /// The word that was left; rank -1 where there is none.
  Failure failure() const;

  void ask_to_stop();
  bool stop_asked() const;

 private:
  friend class SharedMemory;
  struct Control;
  SharedSegment(base::FileDescriptor&& descriptor, std::size_t bytes);
  Control& control() const { return *static_cast<Control*>(memory_); }
  std::byte* slot(int set, int rank) const;  ///< where a rank leaves what it gives to gather()
  float* part(std::size_t index) const;      ///< kChunkFloats of one part of a sum
  float* sum() const;                        ///< kChunkFloats of the sum

  base::FileDescriptor descriptor_;
  std::size_t mapped_ = 0;  ///< bytes
  void* memory_ = nullptr;
  int size_ = 0;
};

/// The ranks of a SharedSegment. A sum goes through the segment in chunks, of which each rank adds up its own
/// slice.
class SharedMemory final : public Collective {
 public:
  /// `still_there` is asked about every 100 ms of a wait, and throws PeerLost where it knows of a dead rank. Anything else that it
  /// throws ends the wait too.
  SharedMemory(SharedSegment& segment, int rank, std::chrono::milliseconds timeout,
               std::function<void()> still_there);

  int rank() const override { return rank_; }
  int size() const override { return segment_.size(); }
  std::chrono::milliseconds timeout() const override { return timeout_; }
  void check_peers() override;
  void ask_to_stop() override { segment_.ask_to_stop(); }
  bool stop_asked() const override { return segment_.stop_asked(); }
  int local_size() const override { return segment_.size(); }
  std::size_t shared_bytes() const override { return segment_.bytes(); }
  void sum_in_order(std::span<const std::span<const float>> parts, std::span<float> total) override;
  void gather(std::span<const std::byte> mine, std::span<std::byte> all) override;

 private:
  void meet();  ///< returns when every rank is here
  void wait_for(std::uint32_t round);
  void throw_failure() const;
  void throw_failure(std::uint32_t round) const;

  SharedSegment& segment_;
  int rank_;
  std::chrono::milliseconds timeout_;
  std::function<void()> still_there_;
  int set_ = 0;  // of slots; they take turns, so that a fast rank does not write where a slow one still reads
};

}  // namespace finetuned::collective
