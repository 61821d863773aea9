#include "base/errors.h"
#include "base/ids.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/file_lookup.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "storage/intake_store.h"
#include "storage/postgres/pool.h"
#include "storage/removal_store.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

namespace {

constexpr int kDefaultFiles = 10000, kMostFiles = 10000;

Response list_files(const Platform& platform, const Request& request) {
  const auto page = page_request(request, kDefaultFiles, kMostFiles);
  std::optional<std::string> purpose;
  if (const auto asked = request.query_value("purpose")) purpose = std::string(*asked);
  const std::string& project = request.principal.project_id;
  const auto files = platform.database.transact(Scope::project(project), [&](Transaction& tx) {
    return storage::FileStore(tx).list(project, purpose, page);
  });
  return json_response(cursor_list(files, file_shape));
}

/// Its object is intake's to remove, which tries until it is gone, and not while a backup is made.
Response delete_file(const Platform& platform, const Request& request) {
  const std::string& id = request.params.at(0);
  const std::string& project = request.principal.project_id;
  platform.database.transact(Scope::project(project), [&](Transaction& tx) {
    find_file(tx, id);
    const auto removed = storage::FileStore(tx).remove(id);
    if (removed && removed->object_to_remove) storage::RemovalStore(tx).add(project, *removed->object_to_remove);
  });
  return json_response(deleted_shape(id, "file"));
}

/// What intake found; before it has looked, the same keys with nothing in them.
Response report_file(const Platform& platform, const Request& request) {
  json::object shape;
  platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
    const storage::File file = find_file(tx, request.params.at(0));
    shape = json::object();
    shape["object"] = "file.report";
    shape["file_id"] = file.id;
    shape["status"] = to_string(file.status);
    shape["ok"] = nullptr;
    shape["rows"] = nullptr;
    shape["format"] = nullptr;
    shape["fault_count"] = nullptr;
    shape["faults"] = json::array();
    shape["tokens"] = json::object();
    if (const auto report = storage::IntakeStore(tx).report(file.id))
      for (const auto& [key, value] : *report) shape[key] = value;
  });
  return json_response(shape);
}

}  // namespace

storage::File find_file(Transaction& tx, const std::string& id) {
  auto file = base::is_id(id, "file") ? storage::FileStore(tx).find(id) : std::nullopt;
  if (!file) throw base::ApiError(404, "invalid_request_error", "file_not_found", "No such File object: " + id, "file_id");
  return *file;
}

void add_file_routes(Router& router, const Platform& platform) {
  router.add("GET", "/v1/files", Access::kProject,
             [&platform](const Request& request) { return list_files(platform, request); });
  router.add("GET", "/v1/files/{file_id}", Access::kProject, [&platform](const Request& request) {
    const auto file = platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
      return find_file(tx, request.params.at(0));
    });
    return json_response(file_shape(file));
  });
  router.add("DELETE", "/v1/files/{file_id}", Access::kProject,
             [&platform](const Request& request) { return delete_file(platform, request); });
  router.add("GET", "/v1/files/{file_id}/report", Access::kProject,
             [&platform](const Request& request) { return report_file(platform, request); });
}

}  // namespace finetuned::gateway
