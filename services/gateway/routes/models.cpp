#include "base/errors.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

namespace {

Response list_models(const Platform& platform, const Request& request) {
  json::array data;
  platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
    storage::ModelStore models(tx);
    data.clear();
    for (const auto& model : models.list_base()) data.push_back(base_model_shape(model));
    for (const auto& model : models.list_fine_tuned(request.principal.project_id))
      data.push_back(fine_tuned_model_shape(model, request.principal.organization_name));
  });
  json::object list;
  list["object"] = "list";
  list["data"] = std::move(data);
  return json_response(list);
}

Response get_model(const Platform& platform, const Request& request) {
  const std::string& name = request.params.at(0);
  json::object shape;
  platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
    storage::ModelStore models(tx);
    if (const auto base = models.find_base(name)) {
      shape = base_model_shape(*base);
    } else {
      const auto own = models.find_fine_tuned(name);
      if (!own) throw no_such_model(name);
      shape = fine_tuned_model_shape(*own, request.principal.organization_name);
    }
  });
  return json_response(shape);
}

Response delete_model(const Platform& platform, const Request& request) {
  const std::string& name = request.params.at(0);
  platform.database.transact(Scope::project(request.principal.project_id), [&](Transaction& tx) {
    storage::ModelStore models(tx);
    if (models.find_base(name))
      throw base::ApiError(403, "invalid_request_error", "model_not_owned", "Base models belong to the platform.", "model");
    if (models.remove_fine_tuned(name)) return;
    if (!models.find_fine_tuned(name)) throw no_such_model(name);
    throw base::ApiError(403, "invalid_request_error", "model_not_owned",
                         "The model belongs to another project, which lets this one use it.", "model");
  });
  return json_response(deleted_shape(name, "model"));
}

}  // namespace

void add_model_routes(Router& router, const Platform& platform) {
  router.add("GET", "/v1/models", Access::kProject,
             [&platform](const Request& request) { return list_models(platform, request); });
  router.add("GET", "/v1/models/{model}", Access::kProject,
             [&platform](const Request& request) { return get_model(platform, request); });
  router.add("DELETE", "/v1/models/{model}", Access::kProject,
             [&platform](const Request& request) { return delete_model(platform, request); });
}

}  // namespace finetuned::gateway
