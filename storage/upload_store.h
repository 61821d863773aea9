#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/file_store.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

inline constexpr std::int64_t kMostUploadBytes = 8LL << 30;
inline constexpr std::int64_t kMostPartBytes = 64LL << 20;
inline constexpr std::int64_t kMostUploadParts = 10'000;
inline constexpr std::int64_t kMostPendingUploads = 100;  ///< of a project

enum class UploadStatus { kPending, kCompleted, kCancelled, kExpired };
std::string to_string(UploadStatus status);  ///< `pending`, `completed`, `cancelled`, `expired`

struct Upload {
  std::string id;  ///< `upload-...`
  std::string project_id;
  std::string purpose;
  std::string filename;  ///< a label only, never a path
  std::string mime_type;
  std::int64_t bytes = 0;  ///< that the parts must add up to
  std::optional<std::int64_t> file_expires_seconds;
  UploadStatus status = UploadStatus::kPending;  ///< expired as soon as the database's clock says so
  std::int64_t created_at = 0;
  std::int64_t expires_at = 0;
  std::optional<std::string> file_id;  ///< of a completed one
  std::optional<std::string> parts_sha256;
  std::int64_t completing_epoch = 0;
  bool completing = false;  ///< somebody puts the parts together, under a lease that holds
};

struct NewUpload {
  std::string id;  ///< made by the caller with base::make_id("upload")
  std::string project_id;
  std::string purpose;
  std::string filename;
  std::string mime_type;
  std::int64_t bytes = 0;
  std::optional<std::int64_t> file_expires_seconds;
};

struct UploadPart {
  std::string id;  ///< `part-...`, made by the caller
  std::string upload_id;
  std::int64_t bytes = 0;
  std::string object_id;
  std::int64_t created_at = 0;  ///< ignored when adding: the database's clock is used
};

/// The right to put an upload's parts together, until the lease ends.
struct CompletionLease {
  std::string upload_id;
  std::int64_t epoch = 0;
};

/// What a completion begins with. `upload` is completed already where the same request has been answered before.
struct Completion {
  Upload upload;
  CompletionLease lease;
  std::vector<std::string> objects;  ///< of the parts, in the order asked for
};

/// Uploads whose bytes come in parts, and become a file. Where an upload is asked for what its status does not allow,
/// ApiError 400 `upload_not_pending` is thrown; 404 `upload_not_found` where there is none in sight.
class UploadStore {
 public:
  explicit UploadStore(postgres::Transaction& tx) : tx_(tx) {}

  /// Pending, for an hour. Throws ApiError 429 `too_many_uploads`.
  Upload create(const NewUpload& upload);
  std::optional<Upload> find(const std::string& id);

  /// Before a part's bytes come: the upload must be pending and have room. Notes the object for removal, in case that
  /// the part is never added. Throws ApiError 400 `too_many_parts`.
  void begin_part(const std::string& upload_id, const std::string& object_id);
  /// Once the part's object is whole. Throws as begin_part.
  UploadPart add_part(const UploadPart& part);
  std::optional<UploadPart> find_part(const std::string& id);

  /// Takes the lease, and notes `object_id`, which the parts will be put together in, for removal until complete() keeps
  /// it. Throws ApiError 400 `upload_part_not_found`, `upload_size_mismatch`; 409 `upload_in_completion` while another has
  /// the lease.
  Completion begin_completion(const std::string& id, const std::vector<std::string>& part_ids,
                              const std::string& object_id, std::int64_t lease_seconds);
  /// False when another has the lease by now.
  bool extend(const CompletionLease& lease, std::int64_t lease_seconds);
  /// Registers the file and ends the upload; its parts are noted for removal. Empty when another has the lease by now,
  /// or the object is gone.
  std::optional<Upload> complete(const CompletionLease& lease, const std::vector<std::string>& part_ids,
                                 const NewFile& file);
  /// Gives the lease back, so that the completion can be asked for again at once; the object is removed.
  void give_up(const CompletionLease& lease, const std::string& object_id);

  /// A cancelled upload comes back unchanged. Whoever puts the parts together finds it cancelled.
  Upload cancel(const std::string& id);
  /// Ends at most `most` uploads that are past their time, oldest first; others' are skipped. Their parts are noted for
  /// removal. Returns the uploads' ids. System scope.
  std::vector<std::string> expire(int most);

 private:
  Upload lock(const std::string& id);
  Upload lock_pending(const std::string& id);
  void check_room(const Upload& upload, std::int64_t bytes);
  void remove_parts(const std::string& upload_id);
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
