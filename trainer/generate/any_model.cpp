#include "trainer/generate/any_model.h"

#include <algorithm>
#include <optional>

#include "base/errors.h"
#include "trainer/formats/peft.h"
#include "trainer/formats/safetensors.h"
#include "trainer/model/weight_source.h"

namespace finetuned::generate {

namespace {

constexpr std::int64_t kPromptPiece = 512;  // tokens of a prompt that go through the model at once
constexpr std::int64_t kRowsBeforeLength = 4;  // where memory is short: so many sequences are given up last

struct Needed {
  std::uint64_t model = 0, cache = 0;  ///< bytes; the cache of one sequence
};

template <class Device>
Needed memory_of(const formats::ModelConfig& config, const model::ModelSettings& settings, int threads) {
  Needed needed;
  for (const tensor::MemoryLine& line : model::plan_memory<Device>(config, settings, threads)) needed.model += line.bytes;
  needed.cache = model::KvCache<Device>::planned_bytes(config, 1, settings.max_positions);
  return needed;
}

/// Lowers max_rows, and max_positions where it may, until their caches fit, on a GPU until one does: there sequences share
/// pages. The bytes that are left for caches.
template <class Device>
std::uint64_t fit_memory(const Device& device, const formats::ModelConfig& config, const AnyModel::Limits& limits,
                         std::uint64_t base_bytes, model::ModelSettings& settings) {
  // A base that is there already is no longer in what a GPU has free.
  const std::uint64_t beside = Device::kHostMemory ? 0 : base_bytes;
  const std::uint64_t limit = limits.memory_bytes > 0 ? limits.memory_bytes : device.free_bytes() + beside;
  while (true) {
    const Needed needed = memory_of<Device>(config, settings, device.threads());
    const auto caches = static_cast<std::uint64_t>(Device::kHostMemory ? settings.max_rows : 1);
    if (needed.model + needed.cache * caches <= limit) return limit - needed.model;
    const bool may_shorten = limits.least_positions > 0 && settings.max_positions / 2 >= limits.least_positions;
    if (settings.max_rows > (may_shorten ? kRowsBeforeLength : 1)) {
      settings.max_rows /= 2;
    } else if (may_shorten) {
      settings.max_positions /= 2;
      settings.max_tokens = std::max(settings.max_rows, std::min(kPromptPiece, settings.max_positions));
    } else {
      throw base::UsageError("this needs " + tensor::megabytes(needed.model) + " of memory for the model and " +
                             tensor::megabytes(needed.cache) + " for a sequence of " + std::to_string(settings.max_positions) +
                             " tokens, but " + tensor::megabytes(limit) +
                             " may be used; lower --max-tokens or take a smaller base");
    }
  }
}

void add_adapter(const formats::AdapterConfig& adapter, model::ModelSettings& settings) {
  settings.mode = model::Mode::kAdapter;
  settings.lora.rank = adapter.rank;
  settings.lora.alpha = adapter.alpha;
  settings.lora.use_rslora = adapter.use_rslora;
  settings.lora.target_modules = adapter.target_modules;
}

/// Whether values of `a` fit the memory, and the scale, of a model made for `settings`.
bool same_shape(const formats::AdapterConfig& a, const model::ModelSettings& settings) {
  const model::LoraSettings& lora = settings.lora;
  return settings.mode == model::Mode::kAdapter && a.rank == lora.rank && a.alpha == lora.alpha &&
         a.use_rslora == lora.use_rslora && a.target_modules == lora.target_modules;
}

/// work(Thing<Device>&).
template <template <class> class Thing, class Work>
decltype(auto) on(const tensor::OnAnyDevice<Thing>& any, Work&& work) {
  if (auto* const gpu = std::get_if<std::unique_ptr<Thing<tensor::Cuda>>>(&any)) return work(**gpu);
  return work(*std::get<std::unique_ptr<Thing<tensor::Cpu>>>(any));
}

std::optional<formats::Adapter> adapter_at(const std::filesystem::path& directory, const formats::ModelConfig& config) {
  if (directory.empty()) return std::nullopt;
  return formats::read_adapter(directory, config);
}

}  // namespace

AnyModel::AnyModel(tensor::AnyDevice& device, const Files& files, const formats::ModelConfig& config, std::int64_t positions,
                   std::int64_t sequences)
    : device_(device), limits_{positions, sequences} {
  const formats::Weights weights = formats::Weights::open(files.base);
  formats::check_weights(config, weights);
  const std::optional<formats::Adapter> tuned = adapter_at(files.adapter, config);
  fit(config, tuned ? &tuned->config : nullptr, 0);
  own_base_ = std::make_unique<model::AnyBase>(device, config, model::stored_weights(weights));
  base_ = own_base_.get();
  build(tuned ? &*tuned : nullptr);
}

AnyModel::AnyModel(tensor::AnyDevice& device, const model::AnyBase& base, const Limits& limits, const formats::Adapter* adapter)
    : device_(device), base_(&base), limits_(limits) {
  fit(base.config(), adapter ? &adapter->config : nullptr, base.bytes());
  build(adapter);
}

void AnyModel::fit(const formats::ModelConfig& config, const formats::AdapterConfig* adapter, std::uint64_t base_bytes) {
  settings_ = {};
  settings_.max_positions = std::min(limits_.positions, config.max_position_embeddings);
  settings_.max_rows = limits_.sequences;
  settings_.max_tokens = std::max(limits_.sequences, std::min(kPromptPiece, settings_.max_positions));
  if (adapter) add_adapter(*adapter, settings_);
  device_.visit([&]<class Device>(Device& on) { cache_bytes_ = fit_memory(on, config, limits_, base_bytes, settings_); });
}

void AnyModel::build(const formats::Adapter* adapter) {
  device_.visit([&]<class Device>(Device& on) {
    auto model = std::make_unique<model::Transformer<Device>>(on, base_->on<Device>(), settings_);
    if (adapter) model->load_adapter(*adapter);
    model_ = std::move(model);
  });
}

void AnyModel::exchange_adapter(const formats::Adapter* adapter) {
  const bool has_one = settings_.mode == model::Mode::kAdapter;
  const bool built = model_.index() != 0;
  if (built && (adapter ? same_shape(adapter->config, settings_) : !has_one)) {
    if (adapter) on<model::Transformer>(model_, [&](auto& model) { model.load_adapter(*adapter); });
    return;
  }
  model_ = std::monostate();
  fit(base_->config(), adapter ? &adapter->config : nullptr, base_->bytes());
  build(adapter);
}

Answer AnyModel::generate(std::span<const std::int32_t> prompt, const Request& request,
                          const std::function<void(std::int32_t)>& on_token) {
  return on<model::Transformer>(model_, [&](auto& model) { return generate::generate(model, prompt, request, on_token); });
}

std::vector<Answer> AnyModel::generate_together(std::span<const Prompt> prompts, const Listener& listener) {
  return on<model::Transformer>(
      model_, [&](auto& model) { return generate::generate_together(model, prompts, listener, cache_bytes_); });
}

AnyBatch::AnyBatch(AnyModel& any) {
  on<model::Transformer>(any.model_, [&]<class Device>(model::Transformer<Device>& model) {
    batch_ = std::make_unique<Batch<Device>>(model, any.sequences(), any.positions(), any.cache_bytes_);
  });
}

std::uint64_t AnyBatch::add(std::span<const std::int32_t> ids, const Request& request) {
  return on<Batch>(batch_, [&](auto& batch) { return batch.add(ids, request); });
}
bool AnyBatch::cancel(std::uint64_t ticket) {
  return on<Batch>(batch_, [&](auto& batch) { return batch.cancel(ticket); });
}
bool AnyBatch::step(const BatchListener& listener) {
  return on<Batch>(batch_, [&](auto& batch) { return batch.step(listener); });
}
std::size_t AnyBatch::sequences() const {
  return on<Batch>(batch_, [](auto& batch) { return batch.sequences(); });
}
std::size_t AnyBatch::running() const {
  return on<Batch>(batch_, [](auto& batch) { return batch.running(); });
}
std::size_t AnyBatch::waiting() const {
  return on<Batch>(batch_, [](auto& batch) { return batch.waiting(); });
}

}  // namespace finetuned::generate
