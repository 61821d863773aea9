#include "storage/file_store.h"

#include "storage/cursor.h"
#include "storage/file_rows.h"
#include "storage/outbox_store.h"

namespace finetuned::storage {

namespace {

const std::string kSelectFile = std::string("SELECT ") + kFileColumns + " FROM file WHERE ";

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
      std::string("INSERT INTO file (id, project_id, purpose, filename, bytes, sha256, object_id, status, expires_at)"
                  " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, to_timestamp($9::bigint)) RETURNING ") +
          kFileColumns,
      {file.id, file.project_id, file.purpose, file.filename, file.bytes, file.sha256, file.object_id,
       to_string(file.status), file.expires_at});
  if (file.purpose == "fine-tune" && file.status == FileStatus::kUploaded)
    OutboxStore(tx_).add(file.project_id, kFilesStream, file.id);
  return read_file_row(rows.row(0));
}

std::optional<File> FileStore::find(const std::string& id) {
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
  return read_page(tx_, request, "file", "id",
                   kSelectFile + "project_id = $1 AND deleted_at IS NULL AND ($2::text IS NULL OR purpose = $2)",
                   {project_id, purpose}, read_file_row);
}

std::int64_t FileStore::total_bytes(const std::string& project_id) {
  return tx_
      .execute("SELECT coalesce(sum(bytes), 0)::bigint AS total FROM file WHERE project_id = $1 AND deleted_at IS NULL",
               {project_id})
      .row(0)
      .integer("total");
}

std::optional<FileStore::Removed> FileStore::remove(const std::string& id) {
  const auto found =
      tx_.execute("SELECT object_id FROM file WHERE id = $1 AND deleted_at IS NULL FOR UPDATE", {id});
  if (found.empty()) return std::nullopt;
  const std::string object_id = found.row(0).text("object_id");
  const auto users = tx_.execute(
      "SELECT id FROM job WHERE (training_file = $1 OR validation_file = $1) AND finished_at IS NULL LIMIT 1", {id});
  if (!users.empty())
    throw base::ApiError(409, "invalid_request_error", "file_in_use",
                         "File '" + id + "' is needed by job '" + users.row(0).text("id") +
                             "'. Cancel the job or wait for its end, then delete the file.",
                         "file_id");
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
  return Removed{id, needed ? std::nullopt : std::optional(object_id)};
}

}  // namespace finetuned::storage
