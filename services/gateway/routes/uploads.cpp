#include "base/ids.h"
#include "base/log.h"
#include "services/gateway/idempotency.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "services/gateway/upload_request.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

using postgres::Scope;
using postgres::Transaction;

namespace {

Response create_upload(const Platform& platform, const Request& request) {
  storage::NewUpload asked = parse_upload_request(request.body);
  asked.id = base::make_id("upload");
  asked.project_id = request.principal.project_id;
  const auto shape = platform.database.transact(Scope::project(asked.project_id), [&](Transaction& tx) {
    storage::UploadStore uploads(tx);
    const auto make = [&] { return upload_shape(uploads.create(asked), std::nullopt); };
    const auto is_pending = [&](const base::json::object& earlier) {
      const auto upload = uploads.find(std::string(earlier.at("id").as_string()));
      return upload && upload->status == storage::UploadStatus::kPending;
    };
    return answer_once(tx, platform, request, make, {.holds = is_pending});
  });
  if (std::string(shape.at("id").as_string()) == asked.id)
    base::log_info("an upload began", {{"upload", asked.id}, {"project", asked.project_id}, {"bytes", asked.bytes}});
  return json_response(shape);
}

Response cancel_upload(const Platform& platform, const Request& request) {
  const std::string& id = checked_upload_id(request.params.at(0));
  const auto upload = platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
    return storage::UploadStore(tx).cancel(id);
  });
  return json_response(upload_shape(upload, std::nullopt));
}

}  // namespace

void add_upload_routes(Router& router, const Platform& platform) {
  router.add("POST", "/v1/uploads", Access::kProject,
             [&platform](const Request& request) { return create_upload(platform, request); });
  router.add("POST", "/v1/uploads/{upload_id}/cancel", Access::kProject,
             [&platform](const Request& request) { return cancel_upload(platform, request); });
}

}  // namespace finetuned::gateway
