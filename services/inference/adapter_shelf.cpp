#include "services/inference/adapter_shelf.h"

#include <algorithm>

#include "base/errors.h"
#include "base/log.h"
#include "base/sha256.h"

namespace finetuned::inference {

namespace fs = std::filesystem;

namespace {

constexpr const char* kWeights = "adapter_model.safetensors";
constexpr const char* kConfig = "adapter_config.json";
constexpr std::uint64_t kMostObjectBytes = std::uint64_t{8} << 30;

base::ApiError damaged(const std::string& why) {
  return {500, "server_error", "adapter_damaged", "The model's adapter cannot be used: " + why};
}

std::uint64_t bytes_of(const formats::Adapter& adapter) {
  std::uint64_t bytes = 0;
  for (const formats::LoraPair& pair : adapter.pairs) bytes += (pair.a.size() + pair.b.size()) * sizeof(float);
  return bytes;
}

}  // namespace

AdapterShelf::AdapterShelf(objects::ObjectStore& store, fs::path scratch, std::size_t most, std::uint64_t most_bytes)
    : store_(store), scratch_(std::move(scratch)), most_(most), most_bytes_(most_bytes) {
  fs::remove_all(scratch_);
  fs::create_directories(scratch_);
  fs::permissions(scratch_, fs::perms::owner_all);
}

AdapterShelf::~AdapterShelf() {
  std::error_code ignored;
  fs::remove_all(scratch_, ignored);
}

const formats::Adapter& AdapterShelf::take(const AdapterFiles& files, const formats::ModelConfig& config) {
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& one) {
    return one.weights_sha256 == files.weights.sha256 && one.config_sha256 == files.config.sha256;
  });
  if (found != kept_.end()) {
    const std::lock_guard lock(mutex_);
    kept_.splice(kept_.begin(), kept_, found);
    return kept_.front().adapter;
  }
  Kept fresh{files.weights.sha256, files.config.sha256, read(files, config), 0};
  fresh.bytes = bytes_of(fresh.adapter);
  const std::lock_guard lock(mutex_);
  kept_.push_front(std::move(fresh));
  std::uint64_t bytes = 0;
  for (const Kept& one : kept_) bytes += one.bytes;
  while (kept_.size() > 1 && (kept_.size() > most_ || bytes > most_bytes_)) {
    bytes -= kept_.back().bytes;
    kept_.pop_back();
  }
  return kept_.front().adapter;
}

formats::Adapter AdapterShelf::read(const AdapterFiles& files, const formats::ModelConfig& config) {
  try {
    fetch(files.weights, kWeights);
    fetch(files.config, kConfig);
    return formats::read_adapter(scratch_, config);
  } catch (const base::FormatError& error) {
    base::log_error("an adapter cannot be used", {{"object", files.weights.object}, {"why", error.what()}});
    throw damaged("its files do not fit the base model");
  } catch (const objects::ObjectMissing& error) {
    base::log_error("an adapter's object is gone", {{"why", error.what()}});
    throw base::ApiError(500, "server_error", "adapter_unavailable", "The model's adapter is not in the object store any more.");
  }
}

/// Into the scratch directory, which nobody else writes to: what is hashed is what is read behind it.
void AdapterShelf::fetch(const StoredFile& file, const char* name) {
  if (store_.open(file.object)->size() > kMostObjectBytes) throw damaged(std::string(name) + " is too large");
  objects::fetch_file(store_, file.object, scratch_ / name);
  if (base::sha256_file(scratch_ / name) == file.sha256) return;
  base::log_error("an adapter's bytes are not those that were stored", {{"object", file.object}, {"expected_sha256", file.sha256}});
  throw damaged(std::string(name) + " does not have the SHA-256 that it was stored with; train it again, or restore the object");
}

std::vector<std::string> AdapterShelf::names() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const Kept& one : kept_) names.push_back(one.weights_sha256);
  return names;
}

}  // namespace finetuned::inference
