#include "base/ids.h"
#include "base/log.h"
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
  const auto upload = platform.database.transact(Scope::project(asked.project_id), [&](Transaction& tx) {
    return storage::UploadStore(tx).create(asked);
  });
  base::log_info("an upload began", {{"upload", upload.id}, {"project", upload.project_id}, {"bytes", upload.bytes}});
  return json_response(upload_shape(upload, std::nullopt));
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
