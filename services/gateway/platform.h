#pragma once

#include <cstdint>

namespace finetuned::base {
class SealingKey;
}
namespace finetuned::postgres {
class Pool;
}
namespace finetuned::redis {
class Client;
}
namespace finetuned::objects {
class ObjectStore;
}

namespace finetuned::gateway {

class Forecasts;
struct Generations;
class JobCreations;
class JobReads;
class KeyCache;
class Metrics;
class ObjectCalls;
class RateLimiter;

/// What the settings allow in a minute, whatever the model.
struct DoorRates {
  std::int64_t requests_per_key = 0;
  std::int64_t requests_per_project = 0;
  std::int64_t tokens_per_project = 0;
};

/// What handlers work with. Built by Gateway, outlives the routes; everything in it may be used from any pool thread, unless it says otherwise.
struct Platform {
  postgres::Pool& database;
  redis::Client& redis;
  objects::ObjectStore& objects;  ///< on the threads of `object_calls` alone
  ObjectCalls& object_calls;
  std::uint64_t most_upload_bytes = 0;
  const base::SealingKey& webhooks_key;
  Generations& generations;
  KeyCache& keys;
  RateLimiter& limiter;
  DoorRates rates;
  Metrics& metrics;
  Forecasts& forecasts;
  JobReads& job_reads;
  JobCreations& job_creations;
};

}  // namespace finetuned::gateway
