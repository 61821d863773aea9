#include "base/errors.h"
#include "base/ids.h"
#include "services/gateway/multipart.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "services/gateway/slots.h"
#include "services/gateway/upload_request.h"
#include "storage/objects/object_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

using postgres::Scope;
using postgres::Transaction;

namespace {

constexpr std::uint64_t kMultipartOverhead = 64 * 1024;
constexpr std::size_t kMostTogether = 64;  // parts of a project that this process receives at once

base::ApiError too_many_together() {
  return {429, "invalid_request_error", "too_many_parts_at_once",
          "The project sends " + std::to_string(kMostTogether) + " parts at once already; send this one when another is done.",
          std::nullopt, true};
}

/// Streams the part `data` into the object store, and registers it at the end.
class PartUpload final : public BodyConsumer, private PartSink {
 public:
  PartUpload(const Platform& platform, const Request& request, Slots::Slot slot)
      : platform_(platform), scope_(Scope::project(request.principal.project_id)),
        upload_id_(checked_upload_id(request.params.at(0))), slot_(std::move(slot)),
        reader_(multipart_boundary(request.header("content-type")), *this),
        writer_(platform.objects.create(storage::kMostPartBytes)) {
    // Before a byte of it is read: 64 MB that will be refused need not come.
    platform_.database.transact(
        scope_, [&](Transaction& tx) { storage::UploadStore(tx).begin_part(upload_id_, writer_->id()); });
  }

  void consume(std::string_view bytes) override { reader_.feed(bytes); }
  Response finish() override;

 private:
  void on_part(const PartHead& head) override;
  void on_data(std::string_view data) override;
  void on_part_end() override {}
  storage::UploadPart store(const storage::UploadPart& part);

  const Platform& platform_;
  const Scope scope_;
  const std::string upload_id_;
  const Slots::Slot slot_;
  MultipartReader reader_;
  std::unique_ptr<objects::ObjectWriter> writer_;  // destroyed uncommitted, it leaves nothing
  bool in_data_ = false, seen_ = false;
};

void PartUpload::on_part(const PartHead& head) {
  in_data_ = head.name == "data";  // what else the form has means nothing
  if (!in_data_) return;
  if (seen_) throw base::bad_request("invalid_multipart", "There are two parts named data.", "data");
  seen_ = true;
}

void PartUpload::on_data(std::string_view data) {
  if (!in_data_) return;
  if (data.size() > static_cast<std::uint64_t>(storage::kMostPartBytes) - writer_->bytes_written())
    throw base::ApiError(413, "invalid_request_error", "part_too_large",
                         "The part is larger than 64 MB (" + std::to_string(storage::kMostPartBytes) +
                             " bytes). Cut the file into smaller parts.", "data");
  writer_->write(data);
}

/// Registers the part. Where the answer to COMMIT was lost, the row itself tells whether it happened.
storage::UploadPart PartUpload::store(const storage::UploadPart& part) {
  try {
    return platform_.database.transact(scope_, [&](Transaction& tx) { return storage::UploadStore(tx).add_part(part); });
  } catch (const postgres::CommitOutcomeUnknown&) {
    const auto found =
        platform_.database.transact(scope_, [&](Transaction& tx) { return storage::UploadStore(tx).find_part(part.id); });
    if (found) return *found;
    throw base::unavailable("The database went away while the part was registered; send it again.");
  }
}

Response PartUpload::finish() {
  reader_.finish();
  if (!seen_) throw base::bad_request("missing_required_parameter", "Missing required parameter: data.", "data");
  if (writer_->bytes_written() == 0) throw base::bad_request("empty_part", "The part is empty.", "data");
  storage::UploadPart part;
  part.id = base::make_id("part");
  part.upload_id = upload_id_;
  const objects::StoredObject object = writer_->commit();
  part.object_id = object.id;
  part.bytes = static_cast<std::int64_t>(object.bytes);
  return json_response(upload_part_shape(store(part)));
}

}  // namespace

void add_upload_part_route(Router& router, const Platform& platform) {
  // Shared, because a std::function is copied.
  const auto slots = std::make_shared<Slots>(kMostTogether);
  router.add_stream("POST", "/v1/uploads/{upload_id}/parts", Access::kProject,
                    storage::kMostPartBytes + kMultipartOverhead, [&platform, slots](const Request& request) {
                      auto slot = slots->take(request.principal.project_id);
                      if (!slot) throw too_many_together();
                      return std::make_unique<PartUpload>(platform, request, std::move(*slot));
                    });
}

}  // namespace finetuned::gateway
