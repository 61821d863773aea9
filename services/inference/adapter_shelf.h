#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <list>
#include <mutex>
#include <string>
#include <vector>

#include "services/inference/wire.h"
#include "storage/objects/object_store.h"
#include "trainer/formats/peft.h"

namespace finetuned::inference {

/// Adapters in host memory, by the hashes of their content; those used last stay, up to `most` of them and `most_bytes`,
/// one at least. For one thread, but for names().
class AdapterShelf {
 public:
  /// `store` outlives this. `scratch`: a directory of this shelf's own, made here, where objects lie while they are read.
  AdapterShelf(objects::ObjectStore& store, std::filesystem::path scratch, std::size_t most, std::uint64_t most_bytes);
  ~AdapterShelf();
  AdapterShelf(const AdapterShelf&) = delete;
  AdapterShelf& operator=(const AdapterShelf&) = delete;

  /// Good until the next call. Its bytes had the hashes of `files` when they were read. Throws ApiError 500
  /// `adapter_unavailable` where an object is gone, `adapter_damaged` where its bytes are others, or do not fit `config`.
  const formats::Adapter& take(const AdapterFiles& files, const formats::ModelConfig& config);

  std::vector<std::string> names() const;  ///< the SHA-256 of their weights, the last used one first. Any thread.

 private:
  struct Kept {
    std::string weights_sha256, config_sha256;
    formats::Adapter adapter;
    std::uint64_t bytes = 0;
  };

  formats::Adapter read(const AdapterFiles& files, const formats::ModelConfig& config);
  void fetch(const StoredFile& file, const char* name);

  objects::ObjectStore& store_;
  const std::filesystem::path scratch_;
  const std::size_t most_;
  const std::uint64_t most_bytes_;
  mutable std::mutex mutex_;  ///< over the list's shape, for names()
  std::list<Kept> kept_;      ///< the last used one first
};

}  // namespace finetuned::inference
