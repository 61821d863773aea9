#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>

#include "trainer/model/any_base.h"
#include "trainer/text/supervised.h"
#include "trainer/training/run.h"

namespace finetuned::worker {

/// The bases that jobs train on, kept from one job to the next: tokenizer, weights and the files' hashes, by
/// the base's directory. A directory whose files changed (names, sizes, times, inodes) is read anew.
///
/// What is kept takes no memory from a run: lend() drops the bases that were used longest ago until the run
/// fits beside the rest, and read_ahead() reads nothing that does not fit beside the run that goes on.
///
/// One base is read at a time. encoder() and lend() are for the thread that runs jobs, read_ahead() for one
/// other, and counts() and in_use() for any.
class ResidentBases {
  struct Weights {
    Weights(tensor::AnyDevice& device, const formats::ModelConfig& config) : values(device, config) {}

    model::AnyBase values;
    training::FileHashes hashes;
    std::string fingerprint;
  };

 public:
  /// A base that one run works on. Its end, behind the run's, says that the run's memory is free.
  class Lent {
   public:
    ~Lent();
    Lent(const Lent&) = delete;
    Lent& operator=(const Lent&) = delete;

    const model::AnyBase& weights() const { return weights_->values; }
    const training::FileHashes& hashes() const { return weights_->hashes; }
    /// The directory's, of when the weights were read.
    const std::string& fingerprint() const { return weights_->fingerprint; }

   private:
    friend class ResidentBases;
    Lent(ResidentBases& bases, std::shared_ptr<const Weights> weights);

    ResidentBases& bases_;
    std::shared_ptr<const Weights> weights_;
  };

  struct Counts {
    std::int64_t reads = 0;      ///< of weights, failed ones not counted
    std::int64_t evictions = 0;  ///< of weights, for want of memory
    std::int64_t bases = 0;      ///< whose weights are here
    std::uint64_t bytes = 0;     ///< that all of them take
  };

  /// The bases lie on `device`. `limit_bytes`: of its memory, for a run and what is kept, together. `patience`: how long a run waits for its own base to be
  /// read ahead, which is done at the lowest priority, before it reads the rest itself.
  explicit ResidentBases(std::uint64_t limit_bytes, std::chrono::milliseconds patience = std::chrono::seconds(2),
                         const tensor::DeviceSpec& device = {})
      : limit_bytes_(limit_bytes), patience_(patience), device_(device) {}
  ResidentBases(const ResidentBases&) = delete;
  ResidentBases& operator=(const ResidentBases&) = delete;

  /// Shared, since it may be dropped from here while a job still uses it. Waits for no weights of its own base. Throws
  /// FormatError.
  std::shared_ptr<const text::RowEncoder> encoder(const std::filesystem::path& directory);

  using EachPiece = std::function<void()>;
  /// The base for a run that takes `run_bytes` in all, its base's weights among them and its tokenizer not, read
  /// where it is not here: then `each_piece` is called many times a second, and may throw. One at a time. Throws
  /// what reading throws (FormatError, std::bad_alloc), and then keeps nothing of the directory.
  Lent lend(const std::filesystem::path& directory, std::uint64_t run_bytes, const EachPiece& each_piece = {});

  enum class Ahead { kReady, kNoRoom, kBrokenOff };
  /// Has the base ready for a later lend(): reads it, in the place of those used longest ago, where it fits
  /// beside what is lent now. Breaks off, keeping nothing of it, soon after `stop` is requested or the other thread
  /// wants another base; and where a lend() has run out of patience for this one, which then reads the rest. Throws as
  /// lend() does.
  Ahead read_ahead(const std::filesystem::path& directory, const std::stop_token& stop, const EachPiece& each_piece = {});

  bool in_use() const;  ///< whether something is lent
  Counts counts() const;

  /// What `directory` holds, for comparison; any text where it cannot be read.
  static std::string fingerprint(const std::filesystem::path& directory);

 private:
  struct Entry {
    std::filesystem::path directory;
    std::string fingerprint;
    std::shared_ptr<const text::RowEncoder> encoder;
    std::shared_ptr<const Weights> weights;  ///< null before they are needed, and until all are read
    std::shared_ptr<Weights> begun;          ///< what is read so far, where not all is
    std::size_t tensors_read = 0;            ///< of `begun`
    std::uint64_t bytes = 0;
  };
  /// Says for whom the reading thread waits or reads.
  class Wanted;
  struct Want {
    std::filesystem::path directory;
    std::chrono::steady_clock::time_point since;
  };

  Entry& fresh_entry(const std::filesystem::path& directory);
  void read_weights(Entry& entry, const EachPiece& each_piece);
  void begin_weights(Entry& entry, tensor::AnyDevice& device, const formats::ModelConfig& config);
  void make_room(const std::filesystem::path& directory, std::uint64_t bytes);
  void forget(const std::filesystem::path& directory);
  bool is_lent(const Entry& entry) const;

  const std::uint64_t limit_bytes_;
  const std::chrono::milliseconds patience_;
  const tensor::DeviceSpec device_;
  std::mutex reading_;  ///< held by whoever reads a base or changes `entries_`; taken before `mutex_`

  mutable std::mutex mutex_;  ///< guards all below, for moments
  std::list<Entry> entries_;  ///< the last used one first
  std::optional<Want> wanted_;
  const Weights* lent_ = nullptr;
  std::uint64_t lent_bytes_ = 0;
  Counts counts_;
};

}  // namespace finetuned::worker
