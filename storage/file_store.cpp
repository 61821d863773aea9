#include "storage/file_store.h"

#include "storage/cursor.h"
#include "storage/file_rows.h"
#include "storage/outbox_store.h"
#include "storage/removal_store.h"

namespace finetuned::storage {

namespace {

const std::string kSelectFile = std::string("SELECT ") + kFileColumns + " FROM file WHERE ";
const std::string kLive = "deleted_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())";

}  // namespace

std::string to_string(FileStatus status) {
  switch (status) {
    case FileStatus::kUploaded: return "uploaded";
    case FileStatus::kProcessed: return "processed";
    case FileStatus::kError: return "error";
  }
  return "error";
}

File read_file_row(const postgres::Row& row) {
  const std::string status = row.text("status");
  return {.id = row.text("id"),
          .project_id = row.text("project_id"),
          .purpose = row.text("purpose"),
          .filename = row.text("filename"),
          .bytes = row.integer("bytes"),
          .sha256 = row.text("sha256"),
          .object_id = row.text("object_id"),
          .status = status == "uploaded"    ? FileStatus::kUploaded
                    : status == "processed" ? FileStatus::kProcessed
                                            : FileStatus::kError,
          .status_details = row.maybe_text("status_details"),
          .created_at = row.integer("created_at"),
          .expires_at = row.maybe_integer("expires_at")};
}

File FileStore::create(const NewFile& file) {
  const auto rows = tx_.execute(
      std::string("INSERT INTO file (id, project_id, purpose, filename, bytes, sha256, object_id, status, created_at,"
                  " expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, statement_timestamp(),"
                  " statement_timestamp() + make_interval(secs => $9::double precision)) RETURNING ") +
          kFileColumns,
      {file.id, file.project_id, file.purpose, file.filename, file.bytes, file.sha256, file.object_id,
       to_string(file.status), file.expires_after_seconds});
  if (file.purpose == "fine-tune" && file.status == FileStatus::kUploaded)
    OutboxStore(tx_).add(file.project_id, kFilesStream, file.id);
  return read_file_row(rows.row(0));
}

std::optional<File> FileStore::find(const std::string& id) {
  const auto rows = tx_.execute(kSelectFile + "id = $1 AND " + kLive, {id});
  if (rows.empty()) return std::nullopt;
  return read_file_row(rows.row(0));
}

std::optional<File> FileStore::find_even_expired(const std::string& id) {
  const auto rows = tx_.execute(kSelectFile + "id = $1 AND deleted_at IS NULL", {id});
  if (rows.empty()) return std::nullopt;
  return read_file_row(rows.row(0));
}

std::optional<File> FileStore::find_even_deleted(const std::string& id) {
  const auto rows = tx_.execute(kSelectFile + "id = $1", {id});
  if (rows.empty()) return std::nullopt;
  return read_file_row(rows.row(0));
}

Page<File> FileStore::list(const std::string& project_id, const std::optional<std::string>& purpose,
                           const PageRequest& request) {
  return read_page(tx_, request, "file", "id", "project_id",
                   kSelectFile + "project_id = $1 AND " + kLive + " AND ($2::text IS NULL OR purpose = $2)",
                   {project_id, purpose}, read_file_row);
}

std::int64_t FileStore::total_bytes(const std::string& project_id) {
  return tx_
      .execute("SELECT coalesce(sum(bytes), 0)::bigint AS total FROM file WHERE project_id = $1 AND " + kLive, {project_id})
      .row(0)
      .integer("total");
}

std::optional<FileStore::Removed> FileStore::remove(const std::string& id) {
  const auto found = tx_.execute("SELECT object_id FROM file WHERE id = $1 AND " + kLive + " FOR UPDATE", {id});
  if (found.empty()) return std::nullopt;
  if (const auto job = job_in_need(id))
    throw base::ApiError(409, "invalid_request_error", "file_in_use",
                         "File '" + id + "' is needed by job '" + *job +
                             "'. Cancel the job or wait for its end, then delete the file.",
                         "file_id");
  return mark_deleted(id, found.row(0).text("object_id"));
}

std::vector<std::string> FileStore::remove_expired(int most) {
  // The minute is for requests that found the file in time.
  const auto expired = tx_.execute(
      "SELECT id, project_id, object_id FROM file"
      " WHERE deleted_at IS NULL AND expires_at <= clock_timestamp() - interval '1 minute'"
      " AND NOT EXISTS (SELECT FROM job WHERE training_file = file.id AND finished_at IS NULL)"
      " AND NOT EXISTS (SELECT FROM job WHERE validation_file = file.id AND finished_at IS NULL)"
      " ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED",
      {most});
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < expired.size(); ++i) {
    const auto row = expired.row(i);
    const std::string id = row.text("id");
    if (job_in_need(id)) continue;  // created between the statement's snapshot and the lock
    const Removed removed = mark_deleted(id, row.text("object_id"));
    if (removed.object_to_remove) RemovalStore(tx_).add(row.text("project_id"), *removed.object_to_remove);
    ids.push_back(id);
  }
  return ids;
}

std::optional<std::string> FileStore::job_in_need(const std::string& id) {
  const auto users = tx_.execute(
      "SELECT id FROM job WHERE (training_file = $1 OR validation_file = $1) AND finished_at IS NULL LIMIT 1", {id});
  if (users.empty()) return std::nullopt;
  return users.row(0).text("id");
}

/// The row is locked.
FileStore::Removed FileStore::mark_deleted(const std::string& id, const std::string& object_id) {
  tx_.execute("UPDATE file SET deleted_at = clock_timestamp() WHERE id = $1", {id});
  const bool needed = tx_.execute(
                             "SELECT EXISTS (SELECT FROM file WHERE object_id = $1 AND deleted_at IS NULL)"
                             " OR EXISTS (SELECT FROM fine_tuned_model, jsonb_each_text(objects) AS named"
                             "  WHERE deleted_at IS NULL AND named.value = $1)"
                             " OR EXISTS (SELECT FROM job_checkpoint, jsonb_each_text(objects) AS named"
                             "  WHERE named.value = $1) AS needed",
                             {object_id})
                          .row(0)
                          .boolean("needed");
  return {id, needed ? std::nullopt : std::optional(object_id)};
}

}  // namespace finetuned::storage
