#include "storage/export_store.h"

#include "base/ids.h"
#include "storage/cursor.h"

namespace finetuned::storage {

namespace {

constexpr char kColumns[] =
    "id, project_id, model, format, status, file_id, error_code, error_message,"
    " extract(epoch FROM created_at)::bigint AS created_at, extract(epoch FROM finished_at)::bigint AS finished_at";
// $1 project, $2 model, $3 format
constexpr char kRequeue[] =
    "UPDATE model_export SET status = 'queued', file_id = NULL, error_code = NULL, error_message = NULL,"
    " finished_at = NULL, attempts = 0 WHERE project_id = $1 AND model = $2 AND format = $3"
    " AND (status = 'failed' OR status = 'done'"
    "  AND NOT EXISTS (SELECT FROM file WHERE file.id = file_id AND file.deleted_at IS NULL))";
constexpr char kGiveUp[] =
    "UPDATE model_export SET status = 'failed', error_code = 'internal_error', lease_until = NULL,"
    " error_message = 'The export was broken off ' || attempts || ' times. Ask for it again; if this comes back, tell the"
    " operator.', finished_at = clock_timestamp() WHERE status = 'running' AND lease_until <= clock_timestamp()"
    " AND attempts >= $1";
constexpr char kClaim[] =
    "UPDATE model_export SET status = 'running', worker = $1, attempts = attempts + 1, lease_epoch = lease_epoch + 1,"
    " lease_until = clock_timestamp() + make_interval(secs => $2::double precision) WHERE id ="
    " (SELECT id FROM model_export WHERE status = 'queued' OR status = 'running' AND lease_until <= clock_timestamp()"
    "  ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING lease_epoch, ";
#define FENCE " WHERE id = $1 AND lease_epoch = $2 AND status = 'running' AND lease_until > clock_timestamp()"
constexpr char kHeartbeat[] =
    "UPDATE model_export SET lease_until = clock_timestamp() + make_interval(secs => $3::double precision)" FENCE;
constexpr char kFinish[] =
    "UPDATE model_export SET status = 'done', lease_until = NULL, finished_at = clock_timestamp(), file_id = $3" FENCE;
constexpr char kFail[] =
    "UPDATE model_export SET status = 'failed', lease_until = NULL, finished_at = clock_timestamp(), error_code = $3,"
    " error_message = $4" FENCE;
constexpr char kRelease[] = "UPDATE model_export SET status = 'queued', lease_until = NULL, attempts = attempts - 1" FENCE;
#undef FENCE

ModelExport read_export(const postgres::Row& row) {
  return {.id = row.text("id"),
          .project_id = row.text("project_id"),
          .model = row.text("model"),
          .format = row.text("format"),
          .status = row.text("status"),
          .file_id = row.maybe_text("file_id"),
          .error_code = row.maybe_text("error_code"),
          .error_message = row.maybe_text("error_message"),
          .created_at = row.integer("created_at"),
          .finished_at = row.maybe_integer("finished_at")};
}

}  // namespace

std::optional<ModelExport> ExportStore::ensure(const std::string& model, const std::string& format, bool* queued) {
  // The project's row is the lock under which its exports are counted.
  tx_.execute("SELECT 1 FROM project WHERE id = $1 FOR NO KEY UPDATE", {project_});
  const std::string select =
      std::string("SELECT ") + kColumns + " FROM model_export WHERE project_id = $1 AND model = $2 AND format = $3";
  *queued = tx_.execute(kRequeue, {project_, model, format}).affected_rows() == 1;
  auto found = tx_.execute(select, {project_, model, format});
  if (found.empty()) {
    tx_.execute("INSERT INTO model_export (id, project_id, model, format) VALUES ($1, $2, $3, $4)",
                {base::make_id("export"), project_, model, format});
    *queued = true;
    found = tx_.execute(select, {project_, model, format});
  }
  if (!*queued) return read_export(found.row(0));
  const auto waiting = tx_.execute("SELECT count(*) AS exports FROM model_export WHERE project_id = $1"
                                   " AND status IN ('queued', 'running')", {project_});
  if (waiting.row(0).integer("exports") > kMostUnfinishedExports) return std::nullopt;
  return read_export(found.row(0));
}

std::optional<ModelExport> ExportStore::find(const std::string& model, const std::string& id) {
  const auto rows = tx_.execute(std::string("SELECT ") + kColumns + " FROM model_export"
                                " WHERE project_id = $1 AND model = $2 AND id = $3", {project_, model, id});
  if (rows.empty()) return std::nullopt;
  return read_export(rows.row(0));
}

Page<ModelExport> ExportStore::list(const std::string& model, const PageRequest& request) {
  return read_listing(tx_, request,
                      {.table = "model_export", .key = "id", .columns = kColumns, .from = "model_export",
                       .owner = "project_id = $1 AND model = $2", .shown = "", .owner_values = {project_, model}},
                      read_export);
}

std::optional<ClaimedExport> ExportLeases::claim(const std::string& worker, std::int64_t lease_seconds) {
  tx_.execute(kGiveUp, {kMostAttempts});
  const auto rows = tx_.execute(std::string(kClaim) + kColumns, {worker, lease_seconds});
  if (rows.empty()) return std::nullopt;
  return ClaimedExport{read_export(rows.row(0)), rows.row(0).integer("lease_epoch")};
}

bool ExportLeases::heartbeat(const ClaimedExport& claimed, std::int64_t lease_seconds) {
  return tx_.execute(kHeartbeat, {claimed.what.id, claimed.epoch, lease_seconds}).affected_rows() == 1;
}

bool ExportLeases::finish(const ClaimedExport& claimed, const NewFile& file) {
  FileStore(tx_).create(file);
  return tx_.execute(kFinish, {claimed.what.id, claimed.epoch, file.id}).affected_rows() == 1;
}

bool ExportLeases::fail(const ClaimedExport& claimed, const std::string& code, const std::string& message) {
  return tx_.execute(kFail, {claimed.what.id, claimed.epoch, code, message}).affected_rows() == 1;
}

bool ExportLeases::release(const ClaimedExport& claimed) {
  return tx_.execute(kRelease, {claimed.what.id, claimed.epoch}).affected_rows() == 1;
}

}  // namespace finetuned::storage
