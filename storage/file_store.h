#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

enum class FileStatus { kUploaded, kProcessed, kError };
std::string to_string(FileStatus status);  ///< `uploaded`, `processed`, `error`

struct File {
  std::string id;  ///< `file-...`
  std::string project_id;
  std::string purpose;   ///< `fine-tune`, `fine-tune-results`, ...
  std::string filename;  ///< a label only, never a path
  std::int64_t bytes = 0;
  std::string sha256;
  std::string object_id;  ///< in the object store
  FileStatus status = FileStatus::kUploaded;
  std::optional<std::string> status_details;
  std::int64_t created_at = 0;
  std::optional<std::int64_t> expires_at;
};

struct NewFile {
  std::string id;  ///< made by the caller with base::make_id("file")
  std::string project_id;
  std::string purpose;
  std::string filename;
  std::int64_t bytes = 0;
  std::string sha256;
  std::string object_id;
  FileStatus status = FileStatus::kUploaded;  ///< kProcessed for purposes that intake does not read
  std::optional<std::int64_t> expires_after_seconds = std::nullopt;  ///< from its creation, by the database's clock
};

/// Uploaded and made files. A deleted file is as absent everywhere here; its row stays for the jobs that used it. So is
/// an expired one, by the database's clock, although it is deleted only some time later (remove_expired).
class FileStore {
 public:
  explicit FileStore(postgres::Transaction& tx) : tx_(tx) {}

  /// A `fine-tune` file that is `uploaded` also gets its outbox row for stream `finetuned:files`.
  File create(const NewFile& file);
  std::optional<File> find(const std::string& id);
  /// Also finds an expired file that is not deleted yet: for a job that was created in time.
  std::optional<File> find_even_expired(const std::string& id);
  /// Also finds deleted files: for a job that began before the deletion.
  std::optional<File> find_even_deleted(const std::string& id);
  Page<File> list(const std::string& project_id, const std::optional<std::string>& purpose,
                  const PageRequest& request);
  std::int64_t total_bytes(const std::string& project_id);

  struct Removed {
    std::string id;
    std::optional<std::string> object_to_remove;  ///< set when nothing else needs the object: remove it after commit
  };
  /// Empty when there is no such file. Throws ApiError 409 `file_in_use` while an unfinished job needs it.
  std::optional<Removed> remove(const std::string& id);
  /// Deletes at most `most` files that expired a minute ago or earlier and that no unfinished job needs, oldest first;
  /// others' are skipped. Objects that nothing else needs are noted for removal. Returns the files' ids. System scope.
  std::vector<std::string> remove_expired(int most);

 private:
  std::optional<std::string> job_in_need(const std::string& id);
  Removed mark_deleted(const std::string& id, const std::string& object_id);
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
