#include "tests/integration/platform/data_directory.h"

#include <stdlib.h>

#include "base/ids.h"
#include "services/model_import.h"
#include "tests/integration/platform/tiny_model.h"

namespace finetuned::tests {

namespace fs = std::filesystem;
using postgres::Scope;
using postgres::Transaction;

namespace {

fs::path make_directory() {
  char name[] = "/tmp/finetuned_test.XXXXXX";
  return ::mkdtemp(name);
}

}  // namespace

DataDirectory::DataDirectory() : path_(make_directory()), store_(path_ / "objects") {}

DataDirectory::~DataDirectory() { fs::remove_all(path_); }

int DataDirectory::object_count() const {
  int count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path_ / "objects"))
    if (entry.is_regular_file()) ++count;
  return count;
}

storage::File DataDirectory::upload(postgres::Pool& pool, const storage::Project& project, const std::string& text) {
  const auto writer = store_.create(std::uint64_t{1} << 30);
  writer->write(text);
  const objects::StoredObject object = writer->commit();
  storage::NewFile file;
  file.id = base::make_id("file");
  file.project_id = project.id;
  file.purpose = "fine-tune";
  file.filename = "train.jsonl";
  file.bytes = static_cast<std::int64_t>(object.bytes);
  file.sha256 = object.sha256;
  file.object_id = object.id;
  return pool.transact(Scope::project(project.id), [&](Transaction& tx) { return storage::FileStore(tx).create(file); });
}

storage::BaseModel DataDirectory::import_tiny_model(postgres::Pool& pool, std::uint64_t seed, int context,
                                                     int hidden) {
  const fs::path source = path_ / ("source-" + std::to_string(seed) + "-" + std::to_string(context) + "-" + std::to_string(hidden));
  write_tiny_model(source, seed, context, hidden);
  return services::import_model(pool, source, path_ / "models", base::make_id("tiny")).model;
}

}  // namespace finetuned::tests
