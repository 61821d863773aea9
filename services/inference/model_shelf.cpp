#include "services/inference/model_shelf.h"

#include <algorithm>

#include "base/errors.h"
#include "base/log.h"
#include "trainer/formats/safetensors.h"
#include "trainer/model/weight_source.h"

namespace finetuned::inference {

namespace {

/// Where memory is short, a model's context may be cut to this, for people's sake: below, it is refused.
constexpr std::int64_t kLeastContext = 2048;

std::string adapter_name(const std::optional<AdapterFiles>& adapter) {
  return adapter ? adapter->weights.sha256 + adapter->config.sha256 : "";
}

base::ApiError too_large(const std::string& base, const std::string& why) {
  base::log_error("a model does not fit the memory for inference", {{"base", base}, {"why", why}});
  return {503, "server_error", "model_too_large",
          "The model '" + base + "' does not fit the memory that this server has for inference.", std::nullopt, true};
}

}  // namespace

ModelShelf::ModelShelf(const ModelShelfOptions& options, AdapterShelf& adapters)
    : options_(options), adapters_(adapters), device_(options.device, options.threads),
      device_class_(device_.visit([](const auto& device) { return tensor::device_class(device); })) {}

generate::AnyModel& ModelShelf::take(const KnownBase& base, const std::optional<AdapterFiles>& adapter) {
  const std::string wanted = adapter_name(adapter);
  if (running_ && on_ == base.row.name && with_ == wanted) return *running_;
  const formats::Adapter* const values = adapter ? &adapters_.take(*adapter, base.config) : nullptr;
  try {
    put_on(base, values);
  } catch (const base::UsageError& error) {
    running_.reset();
    throw too_large(base.row.name, error.what());
  } catch (const std::bad_alloc&) {
    running_.reset();
    throw too_large(base.row.name, "the system has no such memory left");
  } catch (const base::FormatError& error) {
    running_.reset();
    base::log_error("a base model cannot be read", {{"base", base.row.name}, {"why", error.what()}});
    throw base::ApiError(500, "server_error", "model_unavailable", "The files of the base model '" + base.row.name + "' cannot be read.");
  } catch (...) {
    running_.reset();
    throw;
  }
  with_ = wanted;
  return *running_;
}

void ModelShelf::put_on(const KnownBase& base, const formats::Adapter* adapter) {
  if (running_ && on_ == base.row.name) return running_->exchange_adapter(adapter);
  running_.reset();
  const model::AnyBase& weights = weights_of(base);
  const generate::AnyModel::Limits limits{.positions = base.config.max_position_embeddings,
                                          .sequences = options_.sequences,
                                          .memory_bytes = options_.memory_bytes - bytes_beside(base.row.name),
                                          .least_positions = kLeastContext};
  running_ = std::make_unique<generate::AnyModel>(device_, weights, limits, adapter);
  on_ = base.row.name;
  base::log_info("a model answers now", {{"base", on_}, {"context", running_->positions()}, {"sequences", running_->sequences()}});
}

const model::AnyBase& ModelShelf::weights_of(const KnownBase& base) {
  const auto found = std::find_if(kept_.begin(), kept_.end(), [&](const Kept& one) { return one.name == base.row.name; });
  if (found != kept_.end()) {
    const std::lock_guard lock(mutex_);
    kept_.splice(kept_.begin(), kept_, found);
    return *kept_.front().weights;
  }
  const std::uint64_t bytes = model::AnyBase::planned_bytes(options_.device, base.config);
  if (bytes >= options_.memory_bytes)
    throw base::UsageError("its weights take " + tensor::megabytes(bytes) + ", but " + tensor::megabytes(options_.memory_bytes) +
                           " may be used; set inference.memory_bytes higher");
  make_room(base.row.name, bytes);
  const formats::Weights files = formats::Weights::open(base.row.directory);
  formats::check_weights(base.config, files);
  Kept fresh{base.row.name, std::make_unique<model::AnyBase>(device_, base.config, model::stored_weights(files))};
  ++reads_;
  const std::lock_guard lock(mutex_);
  kept_.push_front(std::move(fresh));
  return *kept_.front().weights;
}

/// Drops what was used longest ago until all that stay take at most half of the memory, `bytes` for `name` among them.
void ModelShelf::make_room(const std::string& name, std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  std::uint64_t all = bytes;
  for (const Kept& one : kept_) all += one.weights->bytes();
  while (!kept_.empty() && all > options_.memory_bytes / 2) {
    base::log_info("a base leaves the memory", {{"base", kept_.back().name}, {"for", name}});
    all -= kept_.back().weights->bytes();
    kept_.pop_back();
  }
}

std::uint64_t ModelShelf::bytes_beside(const std::string& name) const {
  std::uint64_t bytes = 0;
  for (const Kept& one : kept_)
    if (one.name != name) bytes += one.weights->bytes();
  return bytes;
}

std::vector<std::string> ModelShelf::bases() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const Kept& one : kept_) names.push_back(one.name);
  return names;
}

}  // namespace finetuned::inference
