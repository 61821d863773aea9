#include "storage/upload_store.h"

#include <map>

#include "base/errors.h"
#include "base/sha256.h"
#include "storage/removal_store.h"

namespace finetuned::storage {

namespace {

constexpr std::int64_t kPendingSeconds = 3600;
constexpr std::int64_t kWritingSeconds = 2 * kPendingSeconds;  // no part or whole is written for so long
// Beyond the upload's bytes: for parts that are sent again because their answer was lost.
constexpr std::int64_t kSpareBytes = 1LL << 30;

const std::string kColumns =
    "id, project_id, purpose, filename, mime_type, bytes, file_expires_seconds, file_id, parts_sha256, completing_epoch,"
    " coalesce(completing_until > clock_timestamp(), false) AS completing,"
    " CASE WHEN status = 'pending' AND expires_at <= clock_timestamp()"
    "  AND NOT coalesce(completing_until > clock_timestamp(), false) THEN 'expired' ELSE status END AS status,"
    " extract(epoch FROM created_at)::bigint AS created_at, extract(epoch FROM expires_at)::bigint AS expires_at";

const std::string kPartColumns =
    "id, upload_id, bytes, object_id, extract(epoch FROM created_at)::bigint AS created_at";

UploadStatus status_of(const std::string& name) {
  if (name == "pending") return UploadStatus::kPending;
  if (name == "completed") return UploadStatus::kCompleted;
  if (name == "cancelled") return UploadStatus::kCancelled;
  return UploadStatus::kExpired;
}

Upload read_upload(const postgres::Row& row) {
  return {.id = row.text("id"),
          .project_id = row.text("project_id"),
          .purpose = row.text("purpose"),
          .filename = row.text("filename"),
          .mime_type = row.text("mime_type"),
          .bytes = row.integer("bytes"),
          .file_expires_seconds = row.maybe_integer("file_expires_seconds"),
          .status = status_of(row.text("status")),
          .created_at = row.integer("created_at"),
          .expires_at = row.integer("expires_at"),
          .file_id = row.maybe_text("file_id"),
          .parts_sha256 = row.maybe_text("parts_sha256"),
          .completing_epoch = row.integer("completing_epoch"),
          .completing = row.boolean("completing")};
}

UploadPart read_part(const postgres::Row& row) {
  return {.id = row.text("id"),
          .upload_id = row.text("upload_id"),
          .bytes = row.integer("bytes"),
          .object_id = row.text("object_id"),
          .created_at = row.integer("created_at")};
}

[[noreturn]] void refuse_ended(const Upload& upload) {
  throw base::bad_request("upload_not_pending",
                          "Upload '" + upload.id + "' is " + to_string(upload.status) + ", not pending. Create another upload.",
                          "upload_id");
}

std::string hash_of(const std::vector<std::string>& part_ids) {
  base::Sha256 hash;
  for (const std::string& id : part_ids) hash.update(id + "\n");
  return hash.hex();
}

/// Objects of the parts in that order. Throws where one is not the upload's, or they do not add up to its bytes.
std::vector<std::string> objects_of(const std::vector<std::string>& part_ids, const postgres::Result& rows,
                                    const Upload& upload) {
  std::map<std::string, UploadPart> parts;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const UploadPart part = read_part(rows.row(i));
    parts.emplace(part.id, part);
  }
  std::vector<std::string> objects;
  std::int64_t bytes = 0;
  for (const std::string& id : part_ids) {
    const auto found = parts.find(id);
    if (found == parts.end())
      throw base::bad_request("upload_part_not_found", "Upload '" + upload.id + "' has no part '" + id + "'.", "part_ids");
    objects.push_back(found->second.object_id);
    bytes += found->second.bytes;
  }
  if (bytes != upload.bytes)
    throw base::bad_request("upload_size_mismatch",
                            "The parts have " + std::to_string(bytes) + " bytes and the upload was created for " +
                                std::to_string(upload.bytes) + ". Send the missing parts, or name the right ones.",
                            "part_ids");
  return objects;
}

}  // namespace

std::string to_string(UploadStatus status) {
  switch (status) {
    case UploadStatus::kPending: return "pending";
    case UploadStatus::kCompleted: return "completed";
    case UploadStatus::kCancelled: return "cancelled";
    case UploadStatus::kExpired: return "expired";
  }
  return "expired";
}

Upload UploadStore::create(const NewUpload& upload) {
  const auto pending = tx_.execute(
      "SELECT count(*) AS n FROM upload WHERE project_id = $1 AND status = 'pending' AND expires_at > clock_timestamp()",
      {upload.project_id});
  if (pending.row(0).integer("n") >= kMostPendingUploads)
    throw base::ApiError(429, "invalid_request_error", "too_many_uploads",
                         "The project has " + std::to_string(kMostPendingUploads) +
                             " pending uploads. Complete or cancel one of them, or wait until they expire.");
  const auto rows = tx_.execute(
      "INSERT INTO upload (id, project_id, purpose, filename, mime_type, bytes, file_expires_seconds, status, created_at,"
      " expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 'pending', statement_timestamp(),"
      " statement_timestamp() + make_interval(secs => $8::double precision)) RETURNING " + kColumns,
      {upload.id, upload.project_id, upload.purpose, upload.filename, upload.mime_type, upload.bytes,
       upload.file_expires_seconds, kPendingSeconds});
  return read_upload(rows.row(0));
}

std::optional<Upload> UploadStore::find(const std::string& id) {
  const auto rows = tx_.execute("SELECT " + kColumns + " FROM upload WHERE id = $1", {id});
  if (rows.empty()) return std::nullopt;
  return read_upload(rows.row(0));
}

Upload UploadStore::lock(const std::string& id) {
  const auto rows = tx_.execute("SELECT " + kColumns + " FROM upload WHERE id = $1 FOR UPDATE", {id});
  if (rows.empty())
    throw base::ApiError(404, "invalid_request_error", "upload_not_found", "No such Upload object: " + id, "upload_id");
  return read_upload(rows.row(0));
}

Upload UploadStore::lock_pending(const std::string& id) {
  const Upload upload = lock(id);
  if (upload.status != UploadStatus::kPending) refuse_ended(upload);
  return upload;
}

/// Room for `bytes` more, while the upload's row is locked.
void UploadStore::check_room(const Upload& upload, std::int64_t bytes) {
  const auto sums = tx_.execute(
      "SELECT count(*) AS parts, coalesce(sum(bytes), 0)::bigint AS bytes FROM upload_part WHERE upload_id = $1",
      {upload.id});
  const auto row = sums.row(0);
  if (row.integer("parts") < kMostUploadParts && row.integer("bytes") + bytes <= upload.bytes + kSpareBytes) return;
  throw base::bad_request("too_many_parts",
                          "Upload '" + upload.id + "' takes at most " + std::to_string(kMostUploadParts) + " parts and " +
                              std::to_string(upload.bytes + kSpareBytes) + " bytes, parts sent twice included. Cancel it and"
                              " create another upload.",
                          "data");
}

void UploadStore::begin_part(const std::string& upload_id, const std::string& object_id) {
  const Upload upload = lock_pending(upload_id);
  check_room(upload, 1);
  RemovalStore(tx_).add(upload.project_id, object_id, kWritingSeconds);
}

UploadPart UploadStore::add_part(const UploadPart& part) {
  const Upload upload = lock_pending(part.upload_id);
  check_room(upload, part.bytes);
  if (!RemovalStore(tx_).keep(part.object_id))
    throw base::unavailable("The part took too long to arrive and was dropped; send it again.");
  const auto rows = tx_.execute(
      "INSERT INTO upload_part (id, upload_id, project_id, bytes, object_id) VALUES ($1, $2, $3, $4, $5) RETURNING " +
          kPartColumns,
      {part.id, upload.id, upload.project_id, part.bytes, part.object_id});
  return read_part(rows.row(0));
}

std::optional<UploadPart> UploadStore::find_part(const std::string& id) {
  const auto rows = tx_.execute("SELECT " + kPartColumns + " FROM upload_part WHERE id = $1", {id});
  if (rows.empty()) return std::nullopt;
  return read_part(rows.row(0));
}

Completion UploadStore::begin_completion(const std::string& id, const std::vector<std::string>& part_ids,
                                         const std::string& object_id, std::int64_t lease_seconds) {
  Completion completion;
  completion.upload = lock(id);
  const Upload& upload = completion.upload;
  if (upload.status == UploadStatus::kCompleted && upload.parts_sha256 == hash_of(part_ids)) return completion;
  if (upload.status != UploadStatus::kPending) refuse_ended(upload);
  if (upload.completing)
    throw base::ApiError(409, "invalid_request_error", "upload_in_completion",
                         "Upload '" + id + "' is being completed by another request. Ask again in a moment.", "upload_id",
                         true);
  const auto rows =
      tx_.execute("SELECT " + kPartColumns + " FROM upload_part WHERE upload_id = $1 AND id = ANY($2::text[])",
                  {id, postgres::Value::texts(part_ids)});
  completion.objects = objects_of(part_ids, rows, upload);
  const auto leased = tx_.execute(
      "UPDATE upload SET completing_epoch = completing_epoch + 1,"
      " completing_until = clock_timestamp() + make_interval(secs => $2::double precision)"
      " WHERE id = $1 RETURNING completing_epoch",
      {id, lease_seconds});
  completion.lease = {id, leased.row(0).integer("completing_epoch")};
  RemovalStore(tx_).add(upload.project_id, object_id, kWritingSeconds);
  return completion;
}

bool UploadStore::extend(const CompletionLease& lease, std::int64_t lease_seconds) {
  return tx_.execute(
                "UPDATE upload SET completing_until = clock_timestamp() + make_interval(secs => $3::double precision)"
                " WHERE id = $1 AND completing_epoch = $2 AND status = 'pending'",
                {lease.upload_id, lease.epoch, lease_seconds})
             .affected_rows() == 1;
}

std::optional<Upload> UploadStore::complete(const CompletionLease& lease, const std::vector<std::string>& part_ids,
                                            const NewFile& file) {
  const Upload upload = lock_pending(lease.upload_id);
  if (upload.completing_epoch != lease.epoch) return std::nullopt;
  if (!RemovalStore(tx_).keep(file.object_id)) return std::nullopt;
  FileStore(tx_).create(file);
  const auto rows = tx_.execute(
      "UPDATE upload SET status = 'completed', ended_at = clock_timestamp(), completing_until = NULL, file_id = $2,"
      " parts_sha256 = $3 WHERE id = $1 RETURNING " + kColumns,
      {upload.id, file.id, hash_of(part_ids)});
  remove_parts(upload.id);
  return read_upload(rows.row(0));
}

void UploadStore::give_up(const CompletionLease& lease, const std::string& object_id) {
  tx_.execute("UPDATE upload SET completing_until = NULL WHERE id = $1 AND completing_epoch = $2",
              {lease.upload_id, lease.epoch});
  tx_.execute("UPDATE object_removal SET due_at = clock_timestamp() WHERE object_id = $1", {object_id});
}

Upload UploadStore::cancel(const std::string& id) {
  const Upload upload = lock(id);
  if (upload.status == UploadStatus::kCancelled) return upload;
  if (upload.status != UploadStatus::kPending) refuse_ended(upload);
  const auto rows = tx_.execute(
      "UPDATE upload SET status = 'cancelled', ended_at = clock_timestamp(), completing_until = NULL WHERE id = $1"
      " RETURNING " + kColumns,
      {id});
  remove_parts(id);
  return read_upload(rows.row(0));
}

std::vector<std::string> UploadStore::expire(int most) {
  const auto rows = tx_.execute(
      "UPDATE upload SET status = 'expired', ended_at = clock_timestamp(), completing_until = NULL WHERE id IN ("
      " SELECT id FROM upload WHERE status = 'pending' AND expires_at <= clock_timestamp()"
      " AND (completing_until IS NULL OR completing_until <= clock_timestamp())"
      " ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING id",
      {most});
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < rows.size(); ++i) ids.push_back(rows.row(i).text("id"));
  for (const std::string& id : ids) remove_parts(id);
  return ids;
}

void UploadStore::remove_parts(const std::string& upload_id) {
  tx_.execute(
      "INSERT INTO object_removal (object_id, project_id, due_at)"
      " SELECT object_id, project_id, clock_timestamp() FROM upload_part WHERE upload_id = $1",
      {upload_id});
  tx_.execute("DELETE FROM upload_part WHERE upload_id = $1", {upload_id});
}

}  // namespace finetuned::storage
