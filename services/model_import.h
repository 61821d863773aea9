#pragma once

#include <filesystem>
#include <string>

#include "storage/model_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::services {

/// What a Hugging Face directory holds, once all of it is checked.
struct CheckedModel {
  std::string family;  ///< `llama`, `qwen2`, `qwen3`, `mistral`
  std::int64_t parameters = 0;
  std::int64_t context = 0;
  std::string tokenizer_fingerprint;
};

/// Checks configuration, every tensor's place, type and shape, tokenizer, chat template, and that they fit each
/// other. Throws FormatError naming the file, the field and the remedy.
CheckedModel check_model(const std::filesystem::path& directory);

struct ImportedModel {
  storage::BaseModel model;
  bool is_new = false;  ///< false: the same model was registered under this name already
};

/// Checks `source`, copies it to `models_directory`/SHA256 (whole or not at all), and registers it under `name`
/// (empty: the folder's own). Importing the same model twice is harmless. Throws FormatError (a broken model),
/// UsageError (no such folder, a name that cannot be, or that another model has): nothing is left behind then.
ImportedModel import_model(postgres::Pool& pool, const std::filesystem::path& source,
                           const std::filesystem::path& models_directory, const std::string& name);

}  // namespace finetuned::services
