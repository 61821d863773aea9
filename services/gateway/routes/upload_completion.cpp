#include <chrono>

#include "base/errors.h"
#include "base/ids.h"
#include "base/log.h"
#include "billing/quotas.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "services/gateway/upload_request.h"
#include "storage/objects/concatenation.h"
#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

using postgres::Scope;
using postgres::Transaction;

namespace {

constexpr std::int64_t kLeaseSeconds = 60;  // a completion whose process died can be asked for again after this
constexpr std::chrono::seconds kExtendAfter{15};
constexpr std::size_t kPieceBytes = 8 << 20;

base::ApiError lost() {
  return {409, "invalid_request_error", "upload_in_completion",
          "Another request has taken over this upload's completion. Ask again in a moment.", "upload_id", true};
}

/// Puts an upload's parts together, a piece at a time and outside of any transaction, under a lease that one request
/// has at a time. What a process that died half way has written is removed by intake's sweep.
class UploadCompletion final : public BodyConsumer {
 public:
  UploadCompletion(const Platform& platform, const Request& request)
      : platform_(platform), project_id_(request.principal.project_id), scope_(Scope::project(project_id_)),
        upload_id_(checked_upload_id(request.params.at(0))) {}

  void consume(std::string_view bytes) override { body_ += bytes; }  // the route bounds it
  bool work_on() override;
  Response finish() override;

 private:
  bool begin();
  void extend_lease();
  storage::NewFile describe(const objects::StoredObject& object) const;
  storage::Upload store(const storage::NewFile& file);
  Response answer(const storage::Upload& upload);
  void give_up();
  template <class Work>
  auto or_give_up(Work work);

  const Platform& platform_;
  const std::string project_id_;
  const Scope scope_;
  const std::string upload_id_;
  std::string body_;
  CompletionRequest asked_;
  storage::Completion completion_;
  std::string object_id_;
  std::optional<objects::Concatenation> whole_;  // none before begin(), and where the upload is completed already
  std::chrono::steady_clock::time_point extended_;
  bool begun_ = false;
};

/// True when there is something to put together.
bool UploadCompletion::begin() {
  begun_ = true;
  asked_ = parse_completion_request(body_);
  auto writer = platform_.objects.create(storage::kMostUploadBytes);
  object_id_ = writer->id();
  extended_ = std::chrono::steady_clock::now();
  completion_ = platform_.database.transact(scope_, [&](Transaction& tx) {
    return storage::UploadStore(tx).begin_completion(upload_id_, asked_.part_ids, object_id_, kLeaseSeconds);
  });
  if (completion_.upload.status == storage::UploadStatus::kCompleted) return false;
  whole_.emplace(platform_.objects, std::move(writer), completion_.objects, asked_.md5.has_value());
  return true;
}

void UploadCompletion::extend_lease() {
  const auto now = std::chrono::steady_clock::now();
  if (now - extended_ < kExtendAfter) return;
  const bool held = platform_.database.transact(
      scope_, [&](Transaction& tx) { return storage::UploadStore(tx).extend(completion_.lease, kLeaseSeconds); });
  if (!held) throw lost();
  extended_ = now;
}

/// Lets the next request try at once. Without the database, it waits for the lease's end.
void UploadCompletion::give_up() {
  try {
    platform_.database.transact(
        scope_, [&](Transaction& tx) { storage::UploadStore(tx).give_up(completion_.lease, object_id_); });
  } catch (const std::exception& error) {
    base::log_warn("a completion's lease stays", {{"upload", upload_id_}, {"why", error.what()}});
  }
}

template <class Work>
auto UploadCompletion::or_give_up(Work work) {
  try {
    return work();
  } catch (const objects::ObjectMissing& error) {
    give_up();
    // Its parts go when an upload is cancelled, expires, or is completed by another request.
    const auto now =
        platform_.database.transact(scope_, [&](Transaction& tx) { return storage::UploadStore(tx).find(upload_id_); });
    if (now && now->status != storage::UploadStatus::kPending)
      throw base::bad_request("upload_not_pending",
                              "Upload '" + upload_id_ + "' became " + to_string(now->status) + " meanwhile.", "upload_id");
    throw;
  } catch (...) {
    give_up();
    throw;
  }
}

bool UploadCompletion::work_on() {
  if (!begun_) return begin();
  return or_give_up([this] {
    const bool more = whole_->copy_some(kPieceBytes);
    extend_lease();
    return more;
  });
}

storage::NewFile UploadCompletion::describe(const objects::StoredObject& object) const {
  const storage::Upload& upload = completion_.upload;
  storage::NewFile file;
  file.id = base::make_id("file");
  file.project_id = project_id_;
  file.purpose = upload.purpose;
  file.filename = upload.filename;
  file.bytes = static_cast<std::int64_t>(object.bytes);
  file.sha256 = object.sha256;
  file.object_id = object.id;
  file.status = upload.purpose == "fine-tune" ? storage::FileStatus::kUploaded : storage::FileStatus::kProcessed;
  file.expires_after_seconds = upload.file_expires_seconds;
  return file;
}

/// Registers the file and ends the upload, in one commit. Where its answer was lost, the row itself tells.
storage::Upload UploadCompletion::store(const storage::NewFile& file) {
  std::optional<storage::Upload> done;
  try {
    done = platform_.database.transact(scope_, [&](Transaction& tx) {
      billing::check_upload(tx, project_id_, file.bytes);
      return storage::UploadStore(tx).complete(completion_.lease, asked_.part_ids, file);
    });
  } catch (const postgres::CommitOutcomeUnknown&) {
    done = platform_.database.transact(scope_, [&](Transaction& tx) { return storage::UploadStore(tx).find(upload_id_); });
    if (!done || done->file_id != file.id)
      throw base::unavailable("The database went away while the upload was completed; complete it again.");
  }
  if (!done) throw lost();
  return *done;
}

Response UploadCompletion::answer(const storage::Upload& upload) {
  std::optional<storage::File> file;
  if (upload.file_id)
    file = platform_.database.transact(
        scope_, [&](Transaction& tx) { return storage::FileStore(tx).find(*upload.file_id); });
  return json_response(upload_shape(upload, file));
}

Response UploadCompletion::finish() {
  if (!whole_) return answer(completion_.upload);
  const storage::Upload done = or_give_up([this] {
    if (asked_.md5) {
      const std::string md5 = whole_->md5();
      if (md5 != *asked_.md5)
        throw base::bad_request("upload_md5_mismatch",
                                "The parts' MD5 in this order is " + md5 + ", not " + *asked_.md5 +
                                    ". Check the order of part_ids, or send the wrong part again.", "md5");
    }
    if (whole_->bytes_copied() != static_cast<std::uint64_t>(completion_.upload.bytes))
      throw objects::ObjectMissing(upload_id_);
    return store(describe(whole_->commit()));
  });
  base::log_info("an upload was completed", {{"upload", upload_id_}, {"project", project_id_}, {"bytes", done.bytes},
                                             {"file", done.file_id.value_or("")}});
  return answer(done);
}

}  // namespace

void add_upload_completion_route(Router& router, const Platform& platform, std::uint64_t most_json_bytes) {
  router.add_stream("POST", "/v1/uploads/{upload_id}/complete", Access::kProject, most_json_bytes,
                    [&platform](const Request& request) { return std::make_unique<UploadCompletion>(platform, request); });
}

}  // namespace finetuned::gateway
