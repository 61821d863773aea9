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
class LocalStore;
}

namespace finetuned::gateway {

struct Generations;

/// What handlers work with. Built by Gateway, outlives the routes; everything in it may be used from any pool thread.
struct Platform {
  postgres::Pool& database;
  redis::Client& redis;
  objects::LocalStore& objects;
  std::uint64_t most_upload_bytes = 0;
  const base::SealingKey& webhooks_key;
  Generations& generations;
};

}  // namespace finetuned::gateway
