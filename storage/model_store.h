#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// A registered model that jobs may start from. Every project sees it.
struct BaseModel {
  std::string name;  ///< `[A-Za-z0-9][A-Za-z0-9._/-]{0,99}`
  std::string family;  ///< `llama`, `qwen2`, ...
  std::int64_t parameters = 0;
  std::int64_t context = 0;  ///< max_position_embeddings, tokens
  std::string tokenizer_fingerprint;
  std::string sha256;     ///< of the whole directory's manifest
  std::string directory;  ///< absolute
  std::int64_t created_at = 0;
};

/// Object ids by file name: `adapter_model.safetensors`, `adapter_config.json`.
using ObjectsByName = std::map<std::string, std::string>;

/// A project's own model, the outcome of a job or one of its checkpoints.
struct FineTunedModel {
  std::string name;  ///< `ft:BASE:ORG:SUFFIX:ID`
  std::string project_id;
  std::string job_id;
  std::string base_model;
  ObjectsByName objects;
  std::int64_t created_at = 0;
};

/// What answers under a name: a base model alone, or with an adapter.
struct ServedModel {
  std::string base_model;
  ObjectsByName objects;  ///< empty: the base itself
  ObjectsByName sha256;   ///< of the objects, by the same names
};

class ModelStore {
 public:
  explicit ModelStore(postgres::Transaction& tx) : tx_(tx) {}

  /// False when the name is taken by the same model (same sha256); throws ApiError 409 `model_exists` when by another.
  bool add_base(const BaseModel& model);
  std::optional<BaseModel> find_base(const std::string& name);
  std::vector<BaseModel> list_base();

  void add_fine_tuned(const FineTunedModel& model);  ///< created_at is ignored: the database's clock is used
  /// In a project's scope: its own, or one that it is permitted to use.
  std::optional<FineTunedModel> find_fine_tuned(const std::string& name);
  /// With those that it is permitted to use.
  std::vector<FineTunedModel> list_fine_tuned(const std::string& project_id);
  /// False when there is none, or only another project's. The objects stay while result files or checkpoints name them.
  bool remove_fine_tuned(const std::string& name);

  /// A base, one of the project's fine-tuned models or its jobs' checkpoints, or one of another project's that it is
  /// permitted to use (storage/permission_store.h). In a project's scope only, so that nothing else can be named.
  std::optional<ServedModel> find_served(const std::string& name);
  /// Whether it is a fine-tuned model of the project itself, or a checkpoint of its jobs.
  bool is_own(const std::string& name);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
