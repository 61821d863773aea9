#include "services/inference_part.h"

#include <algorithm>

#include "base/log.h"
#include "services/inference/service.h"
#include "services/parts.h"
#include "storage/postgres/pool.h"

namespace finetuned::services {

namespace {

constexpr std::size_t kConnections = 2;

inference::ServiceOptions options_of(const base::Settings& settings, const tensor::DeviceSpec& device, std::uint64_t memory_bytes) {
  inference::ServiceOptions options;
  options.name = process_name();
  options.directory = std::filesystem::absolute(settings.data_directory) / "run";
  options.device = device;
  options.threads = settings.inference.threads != 0 ? settings.inference.threads : settings.worker.threads;
  options.batch = settings.inference.batch;
  options.queue = static_cast<std::size_t>(settings.inference.queue);
  options.memory_bytes = memory_bytes;
  options.build = FINETUNED_VERSION;
  return options;
}

void serve(const base::Settings& settings, objects::ObjectStore& store, const inference::ServiceOptions& options,
           const std::stop_token& stop) {
  try {
    postgres::Pool pool(pool_options(settings, "inference", kConnections));
    redis::Client redis(redis_address(settings));
    inference::InferenceService service(pool, store, redis, options);
    service.run(stop);
  } catch (const std::exception& error) {
    base::log_error("no inference beside training", {{"why", error.what()}});
  }
}

}  // namespace

MemoryShares share_memory(const base::Settings& settings, const tensor::DeviceSpec& device) {
  MemoryShares shares{static_cast<std::uint64_t>(settings.worker.memory_bytes),
                      static_cast<std::uint64_t>(settings.inference.memory_bytes)};
  if (!settings.inference.enabled) return shares;
  if (shares.inference > 0 && shares.training > 0) return shares;
  const std::uint64_t all = tensor::device_memory_bytes(device, 0);
  if (shares.inference == 0) shares.inference = all / 4;
  if (shares.training == 0) shares.training = all - std::min(shares.inference, all / 2);
  return shares;
}

InferencePart::InferencePart(const base::Settings& settings, objects::ObjectStore& store, const tensor::DeviceSpec& device,
                             std::uint64_t memory_bytes) {
  if (!settings.inference.enabled) return;
  thread_ = std::jthread([&settings, &store, options = options_of(settings, device, memory_bytes)](const std::stop_token& stop) {
    serve(settings, store, options, stop);
  });
}

}  // namespace finetuned::services
