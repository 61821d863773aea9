#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "storage/model_store.h"
#include "storage/postgres/pool.h"
#include "trainer/formats/hf_config.h"
#include "trainer/text/supervised.h"

namespace finetuned::inference {

/// A registered base as a request needs it before it runs. Immutable.
struct KnownBase {
  storage::BaseModel row;
  formats::ModelConfig config;
  text::RowEncoder encoder;
};

/// The registered bases' tokenizers, by name; those used last stay in memory. A registered base never changes. Any thread.
class BaseCatalogue {
 public:
  static constexpr std::size_t kKept = 8;

  /// `pool` outlives this.
  explicit BaseCatalogue(postgres::Pool& pool) : pool_(pool) {}

  /// Shared, since it may be dropped from here while a request still uses it. Throws ApiError: 404 `model_not_found`, 500
  /// where its files are broken; and what the database throws.
  std::shared_ptr<const KnownBase> find(const std::string& name);

 private:
  std::shared_ptr<const KnownBase> read(const std::string& name);

  postgres::Pool& pool_;
  std::mutex mutex_;
  std::list<std::shared_ptr<const KnownBase>> kept_;  ///< the last used one first
};

}  // namespace finetuned::inference
