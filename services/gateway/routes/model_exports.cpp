#include "base/errors.h"
#include "services/gateway/admin.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/idempotency.h"
#include "services/gateway/job_request.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "storage/export_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;
using storage::ExportStore;

namespace {

constexpr int kDefaultExports = 20, kMostExports = 100;

json::object export_shape(const storage::ModelExport& one) {
  json::object shape;
  shape["id"] = one.id;
  shape["object"] = "model.export";
  shape["created_at"] = one.created_at;
  shape["finished_at"] = or_null(one.finished_at);
  shape["model"] = one.model;
  shape["format"] = one.format;
  shape["status"] = one.status;
  shape["file_id"] = or_null(one.file_id);
  shape["error"] = nullptr;
  if (one.error_code) shape["error"] = {{"code", *one.error_code}, {"message", one.error_message.value_or("")}};
  return shape;
}

/// The fine-tuned model or checkpoint of the project itself: one that it may only use is not its to give away.
void check_own(Transaction& tx, const std::string& name) {
  storage::ModelStore models(tx);
  const auto found = models.find_served(name);
  if (!found)
    throw base::ApiError(404, "invalid_request_error", "model_not_found",
                         "The model `" + name + "` does not exist or you do not have access to it.", "model");
  if (found->objects.empty())
    throw base::ApiError(403, "invalid_request_error", "model_not_owned", "Base models belong to the platform.", "model");
  if (!models.is_own(name))
    throw base::ApiError(403, "invalid_request_error", "model_not_owned",
                         "The model belongs to another project, which lets this one use it.", "model");
}

std::string format_of(const Request& request) {
  const json::object body = parse_body(request.body);
  const BodyFields fields(body);
  const std::string format = fields.required("format", fields.choice("format", {"peft", "merged", "gguf"}));
  if (format == "gguf")
    throw base::bad_request("unsupported_format",
                            "gguf is not written here: export `merged`, and convert it with llama.cpp's"
                            " convert_hf_to_gguf.py.", "format");
  return format;
}

Response create_export(const Platform& platform, const Request& request) {
  const std::string format = format_of(request);
  const std::string& model = request.params.at(0);
  const std::string& project = request.principal.project_id;
  const auto make = [&](Transaction& tx) -> json::object {
    check_own(tx, model);
    bool queued = false;
    const auto one = ExportStore(tx, project).ensure(model, format, &queued);
    if (!one)
      throw base::ApiError(429, "invalid_request_error", "too_many_exports",
                           "The project has " + std::to_string(storage::kMostUnfinishedExports) +
                               " unfinished exports. Wait for one to end.", std::nullopt, true);
    return {{"status", queued ? 202 : 200}, {"body", export_shape(*one)}};
  };
  const json::object answer = platform.database.transact(Scope::project(project), [&](Transaction& tx) {
    const auto has_not_failed = [&](const json::object& earlier) {
      const auto one = ExportStore(tx, project).find(model, std::string(earlier.at("body").at("id").as_string()));
      return one && one->status != "failed";
    };
    return answer_once(tx, platform, request, [&] { return make(tx); }, {.holds = has_not_failed});
  });
  return json_response(answer.at("body"), static_cast<int>(answer.at("status").as_int64()));
}

Response list_exports(const Platform& platform, const Request& request) {
  const auto page = page_request(request, kDefaultExports, kMostExports);
  const std::string& project = request.principal.project_id;
  const auto exports = platform.database.transact(Scope::project(project), [&](Transaction& tx) {
    check_own(tx, request.params.at(0));
    return ExportStore(tx, project).list(request.params.at(0), page);
  });
  return json_response(cursor_list(exports, export_shape));
}

Response get_export(const Platform& platform, const Request& request) {
  const std::string& project = request.principal.project_id;
  const auto found = platform.database.transact(Scope::project(project), [&](Transaction& tx) {
    return ExportStore(tx, project).find(request.params.at(0), request.params.at(1));
  });
  if (!found) throw no_such("export", request.params.at(1), "export_id");
  return json_response(export_shape(*found));
}

}  // namespace

void add_model_export_routes(Router& router, const Platform& platform) {
  router.add("POST", "/v1/models/{model}/export", Access::kProject,
             [&platform](const Request& request) { return create_export(platform, request); });
  router.add("GET", "/v1/models/{model}/exports", Access::kProject,
             [&platform](const Request& request) { return list_exports(platform, request); });
  router.add("GET", "/v1/models/{model}/exports/{export_id}", Access::kProject,
             [&platform](const Request& request) { return get_export(platform, request); });
}

}  // namespace finetuned::gateway
