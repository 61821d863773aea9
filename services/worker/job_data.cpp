#include "services/worker/job_data.h"

#include <fstream>

#include "base/expects.h"
#include "base/log.h"
#include "storage/file_store.h"
#include "storage/job_store.h"
#include "storage/organization_store.h"
#include "trainer/formats/peft.h"
#include "trainer/text/dataset.h"

namespace finetuned::worker {

namespace {

namespace fs = std::filesystem;
namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

/// What the rows of the job stand for, as the database has it.
struct Sources {
  storage::BaseModel base;
  std::string organization;
  storage::File training;
  std::optional<storage::File> validation;
  std::optional<storage::FineTunedModel> parent;  ///< the own model that the job goes on from
  std::int64_t told_steps = 0;
};

storage::File file_of(Transaction& tx, const std::string& id, const char* param) {
  auto file = storage::FileStore(tx).find_even_deleted(id);
  if (!file) throw JobRefused("file_not_found", param, "the file " + id + " is gone: upload it again");
  return *file;
}

Sources find_sources(Transaction& tx, const storage::Job& job) {
  Sources sources;
  storage::ModelStore models(tx);
  const auto base = models.find_base(job.base_model);
  base::expects(base.has_value(), "a job's base model stays registered");
  sources.base = *base;
  const auto organization = storage::OrganizationStore(tx).find_organization(job.organization_id);
  base::expects(organization.has_value(), "a job's organization exists");
  sources.organization = organization->name;
  sources.training = file_of(tx, job.training_file, "training_file");
  if (job.validation_file) sources.validation = file_of(tx, *job.validation_file, "validation_file");
  sources.told_steps = storage::JobStore(tx).last_told_step(job.id);
  if (job.model != job.base_model) {
    sources.parent = models.find_fine_tuned(job.model);
    if (!sources.parent) throw JobRefused("model_not_found", "model", "the model " + job.model + " was deleted");
  }
  return sources;
}

/// The job's settings: the method's own over the top-level ones, which OpenAI deprecated.
json::object settings_of(const storage::Job& job) {
  json::object settings;
  if (const json::object* top = job.hyperparameters.if_object()) settings = *top;
  const json::object* method = job.method.if_object();
  const json::value* supervised = method ? method->if_contains("supervised") : nullptr;
  const json::value* own =
      supervised && supervised->is_object() ? supervised->get_object().if_contains("hyperparameters") : nullptr;
  if (own && own->is_object())
    for (const auto& [key, value] : own->get_object()) settings[key] = value;
  return settings;
}

std::vector<text::TokenRow> read_rows(objects::ObjectStore& store, const storage::File& file, const char* param,
                                      const text::RowEncoder& encoder, const text::SupervisedOptions& options,
                                      const fs::path& scratch) {
  const fs::path local = scratch / (std::string(param) + ".jsonl");
  objects::fetch_file(store, file.object_id, local);
  std::ifstream stream(local, std::ios::binary);
  if (!stream) throw objects::StorageUnavailable("open " + local.string());
  text::DatasetReader reader(stream, {.line_bytes = std::size_t{1} << 30, .min_examples = 1});
  std::vector<text::TokenRow> rows;
  const std::string code = std::string("invalid_") + param;
  while (const std::optional<text::Row> row = reader.next()) {
    try {
      rows.push_back(encoder.encode(*row, options).row);
    } catch (const text::RowError& error) {
      std::string where = file.id + ", line " + std::to_string(row->line);
      if (!error.field.empty()) where += ", " + error.field;
      throw JobRefused(code, param, where + ": " + error.what());
    }
  }
  if (stream.bad()) throw objects::StorageUnavailable("read " + local.string());  // not the end of its rows
  if (reader.faults().count() > 0) {
    const text::RowFault& fault = reader.faults().kept().front();
    throw JobRefused(code, param, file.id + ", line " + std::to_string(fault.line) + ": " + fault.message);
  }
  fs::remove(local);
  return rows;
}

/// The adapter goes on as it is: its shape is its own, whatever the job's settings say.
void go_on_from(objects::ObjectStore& store, const storage::FineTunedModel& parent, const fs::path& directory,
                training::RunConfig& run) {
  fs::create_directories(directory);
  for (const char* name : {"adapter_model.safetensors", "adapter_config.json"}) {
    const auto object = parent.objects.find(name);
    base::expects(object != parent.objects.end(), "a fine-tuned model has both files of its adapter");
    objects::fetch_file(store, object->second, directory / name);
  }
  const formats::AdapterConfig adapter =
      formats::read_adapter(directory, formats::read_model_config(run.base_directory)).config;
  run.init_adapter = directory;
  run.lora_rank = adapter.rank;
  run.lora_alpha = adapter.alpha;
  run.use_rslora = adapter.use_rslora;
  run.target_modules = adapter.target_modules;
}

/// A lost one costs the job the steps that it saved, not the job: the run refuses the file that is not there.
void fetch_state(objects::ObjectStore& store, const storage::Job& job, const fs::path& to) {
  try {
    objects::fetch_file(store, job.saved->object_id, to);
  } catch (const objects::ObjectMissing& missing) {
    base::log_error("a job's state is gone", {{"job", job.id}, {"object", job.saved->object_id}, {"why", missing.what()}});
    fs::remove(to);
  }
}

}  // namespace

JobData load_job_data(postgres::Pool& pool, objects::ObjectStore& store, const storage::Job& job,
                      ResidentBases& bases, const fs::path& scratch) {
  const Sources sources = pool.transact(Scope::project(job.project_id),
                                        [&](Transaction& tx) { return find_sources(tx, job); });
  JobData data;
  data.base = sources.base;
  data.organization = sources.organization;
  data.told_steps = sources.told_steps;
  data.config = job_config(settings_of(job), job.seed, sources.base.context);
  data.config.run.base_directory = sources.base.directory;
  data.config.run.base_name = sources.base.name;
  data.config.run.out_directory = scratch / "out";
  if (sources.parent) go_on_from(store, *sources.parent, scratch / "parent", data.config.run);
  if (job.saved) {
    data.config.run.resume_from = scratch / "saved";
    fetch_state(store, job, data.config.run.resume_from);
  }
  const auto encoder = bases.encoder(sources.base.directory);
  data.training = read_rows(store, sources.training, "training_file", *encoder, data.config.supervised, scratch);
  if (sources.validation)
    data.validation = read_rows(store, *sources.validation, "validation_file", *encoder, data.config.supervised, scratch);
  return data;
}

}  // namespace finetuned::worker
