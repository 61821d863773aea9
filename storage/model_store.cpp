#include "storage/model_store.h"

#include "base/errors.h"
#include "base/expects.h"
#include "storage/json_columns.h"

namespace finetuned::storage {

namespace {

constexpr char kSelectBase[] =
    "SELECT name, family, parameters, context, tokenizer_fingerprint, sha256, directory,"
    " extract(epoch FROM created_at)::bigint AS created_at FROM base_model";
constexpr char kSelectFineTuned[] =
    "SELECT name, project_id, job_id, base_model, objects, extract(epoch FROM created_at)::bigint AS created_at"
    " FROM fine_tuned_model WHERE deleted_at IS NULL AND ";

BaseModel read_base(const postgres::Row& row) {
  return {.name = row.text("name"),
          .family = row.text("family"),
          .parameters = row.integer("parameters"),
          .context = row.integer("context"),
          .tokenizer_fingerprint = row.text("tokenizer_fingerprint"),
          .sha256 = row.text("sha256"),
          .directory = row.text("directory"),
          .created_at = row.integer("created_at")};
}

FineTunedModel read_fine_tuned(const postgres::Row& row) {
  return {.name = row.text("name"),
          .project_id = row.text("project_id"),
          .job_id = row.text("job_id"),
          .base_model = row.text("base_model"),
          .objects = objects_from_json(row.text("objects")),
          .created_at = row.integer("created_at")};
}

constexpr char kTunedHashes[] =
    "SELECT object_id, sha256 FROM file WHERE object_id = ANY ($1::text[])";
constexpr char kSelectCheckpoint[] =
    "SELECT job.base_model, job_checkpoint.objects, job_checkpoint.sha256 FROM job_checkpoint"
    " JOIN job ON job.id = job_checkpoint.job_id WHERE job_checkpoint.model_name = $1 AND job_checkpoint.distrusted_at IS NULL";
constexpr char kSelectPermitted[] = "SELECT base_model, objects::text, sha256::text FROM permitted_model($1)";

}  // namespace

bool ModelStore::add_base(const BaseModel& model) {
  const auto inserted = tx_.execute(
      "INSERT INTO base_model (name, family, parameters, context, tokenizer_fingerprint, sha256, directory)"
      " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (name) DO NOTHING",
      {model.name, model.family, model.parameters, model.context, model.tokenizer_fingerprint, model.sha256,
       model.directory});
  if (inserted.affected_rows() == 1) return true;
  if (find_base(model.name)->sha256 == model.sha256) return false;
  throw base::ApiError(409, "invalid_request_error", "model_exists",
                       "Another model is registered as '" + model.name + "'. Choose another name.", "name");
}

std::optional<BaseModel> ModelStore::find_base(const std::string& name) {
  const auto rows = tx_.execute(std::string(kSelectBase) + " WHERE name = $1", {name});
  if (rows.empty()) return std::nullopt;
  return read_base(rows.row(0));
}

std::vector<BaseModel> ModelStore::list_base() {
  const auto rows = tx_.execute(std::string(kSelectBase) + " ORDER BY seq");
  std::vector<BaseModel> models;
  for (std::size_t i = 0; i < rows.size(); ++i) models.push_back(read_base(rows.row(i)));
  return models;
}

void ModelStore::add_fine_tuned(const FineTunedModel& model) {
  tx_.execute(
      "INSERT INTO fine_tuned_model (name, project_id, job_id, base_model, objects) VALUES ($1, $2, $3, $4, $5::jsonb)",
      {model.name, model.project_id, model.job_id, model.base_model, objects_to_json(model.objects)});
}

std::optional<FineTunedModel> ModelStore::find_fine_tuned(const std::string& name) {
  const auto rows = tx_.execute(std::string(kSelectFineTuned) + "name = $1", {name});
  if (rows.empty()) return std::nullopt;
  return read_fine_tuned(rows.row(0));
}

std::vector<FineTunedModel> ModelStore::list_fine_tuned(const std::string& project_id) {
  const auto rows = tx_.execute(std::string(kSelectFineTuned) + "(project_id = $1 OR is_permitted(name)) ORDER BY seq", {project_id});
  std::vector<FineTunedModel> models;
  for (std::size_t i = 0; i < rows.size(); ++i) models.push_back(read_fine_tuned(rows.row(i)));
  return models;
}

std::optional<ServedModel> ModelStore::find_served(const std::string& name) {
  base::expects(!tx_.scope().is_system(), "models are served to a project");
  if (find_base(name)) return ServedModel{name, {}, {}};
  if (const auto own = find_fine_tuned(name); own && own->project_id == tx_.scope().project_id()) {
    ServedModel served{own->base_model, own->objects, {}};
    std::vector<std::string> ids;
    for (const auto& [file, object] : own->objects) ids.push_back(object);
    const auto rows = tx_.execute(kTunedHashes, {postgres::Value::texts(ids)});
    for (std::size_t i = 0; i < rows.size(); ++i)
      for (const auto& [file, object] : own->objects)
        if (object == rows.row(i).text("object_id")) served.sha256[file] = rows.row(i).text("sha256");
    return served;
  }
  auto rows = tx_.execute(kSelectCheckpoint, {name});
  if (rows.empty()) rows = tx_.execute(kSelectPermitted, {name});
  if (rows.empty()) return std::nullopt;
  const auto row = rows.row(0);
  return ServedModel{row.text("base_model"), objects_from_json(row.text("objects")), objects_from_json(row.text("sha256"))};
}

bool ModelStore::is_own(const std::string& name) {
  if (const auto tuned = find_fine_tuned(name)) return tuned->project_id == tx_.scope().project_id();
  return !tx_.execute(kSelectCheckpoint, {name}).empty();
}

bool ModelStore::remove_fine_tuned(const std::string& name) {
  return tx_.execute("UPDATE fine_tuned_model SET deleted_at = clock_timestamp() WHERE name = $1 AND deleted_at IS NULL",
                     {name})
             .affected_rows() == 1;
}

}  // namespace finetuned::storage
