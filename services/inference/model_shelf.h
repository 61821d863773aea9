#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "services/inference/adapter_shelf.h"
#include "services/inference/base_catalogue.h"
#include "trainer/generate/any_model.h"

namespace finetuned::inference {

struct ModelShelfOptions {
  tensor::DeviceSpec device;
  int threads = 0;                ///< on the processor; 0: all cores
  std::uint64_t memory_bytes = 0; ///< of the device, for the bases, the model that runs and its caches
  std::int64_t sequences = 16;    ///< that a model continues together
};

/// Bases in the device's memory and the one model that runs on one of them. Bases that were used last stay while all of
/// them take at most half of the memory; the other half, or what the running one's base leaves, is the model's and its
/// caches'. For one thread, but for bases().
class ModelShelf {
 public:
  /// `adapters` outlives this.
  ModelShelf(const ModelShelfOptions& options, AdapterShelf& adapters);

  /// The base with the adapter on it: as the last one where it is the same, else the adapter is exchanged, and the base
  /// read, where they must be. Good until the next call; no batch of an earlier one stands any more. Throws ApiError: 503
  /// `model_too_large`, 500 for broken files, and as AdapterShelf::take(); tensor::CudaFailed.
  generate::AnyModel& take(const KnownBase& base, const std::optional<AdapterFiles>& adapter);

  std::vector<std::string> bases() const;  ///< in memory, the last used one first. Any thread.
  std::int64_t reads() const { return reads_; }  ///< of bases. Any thread.
  const std::string& device_class() const { return device_class_; }

 private:
  struct Kept {
    std::string name;
    std::unique_ptr<const model::AnyBase> weights;
  };

  const model::AnyBase& weights_of(const KnownBase& base);
  void make_room(const std::string& name, std::uint64_t bytes);
  std::uint64_t bytes_beside(const std::string& name) const;
  void put_on(const KnownBase& base, const formats::Adapter* adapter);

  const ModelShelfOptions options_;
  AdapterShelf& adapters_;
  tensor::AnyDevice device_;
  std::string device_class_;
  mutable std::mutex mutex_;  ///< over the list's shape, for bases()
  std::list<Kept> kept_;      ///< the last used one first
  std::atomic<std::int64_t> reads_{0};
  std::string on_, with_;  ///< the running model's base, and its adapter's hashes
  std::unique_ptr<generate::AnyModel> running_;
};

}  // namespace finetuned::inference
