#include "base/errors.h"
#include "base/sealing.h"
#include "services/gateway/body_fields.h"
#include "services/gateway/download_url.h"
#include "services/gateway/job_request.h"
#include "services/gateway/routes/file_lookup.h"
#include "services/gateway/routes/routes.h"
#include "storage/organization_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

namespace {

constexpr std::int64_t kDefaultSeconds = 300, kMostSeconds = 900;
constexpr char kUse[] = "download URLs";

base::ApiError refused(const char* code, const std::string& message) {
  return {403, "invalid_request_error", code, message, std::nullopt};
}

std::int64_t now(Transaction& tx) {
  return tx.execute("SELECT extract(epoch FROM clock_timestamp())::bigint AS now").row(0).integer("now");
}

/// Where the client reached this gateway, as it says itself; a proxy that ends TLS says so.
std::string origin_of(const Request& request) {
  const bool https = request.over_tls || request.header("x-forwarded-proto") == std::string_view("https");
  return (https ? "https://" : "http://") + std::string(request.header("host").value_or("localhost"));
}

Response make_url(const Platform& platform, const Request& request) {
  const json::object body = request.body.empty() ? json::object() : parse_body(request.body);
  const std::int64_t seconds = BodyFields(body).integer("expires_in", 1, kMostSeconds).value_or(kDefaultSeconds);
  const std::string& project = request.principal.project_id;
  const Download download = platform.database.transact(Scope::project(project), [&](Transaction& tx) {
    return Download{project, find_file(tx, request.params.at(0)).id, now(tx) + seconds};
  });
  json::object shape;
  shape["object"] = "file.download_url";
  shape["file_id"] = download.file_id;
  shape["url"] = origin_of(request) + sign_download(platform.webhooks_key.derive(kUse), download);
  shape["expires_at"] = download.expires_at;
  return json_response(shape);
}

Response open_url(const Platform& platform, const Request& request) {
  const auto download = read_download(platform.webhooks_key.derive(kUse), request);
  if (!download)
    throw refused("invalid_download_url", "This URL was not made here, or not like this. Use it whole, as it was answered.");
  const auto file = platform.database.transact(Scope::project(download->project_id), [&](Transaction& tx) {
    if (now(tx) >= download->expires_at)
      throw refused("download_url_expired", "The time of this URL is over: make another with POST /v1/files/" +
                                                download->file_id + "/download_url.");
    const auto project = storage::OrganizationStore(tx).find_project(download->project_id);
    if (!project || project->archived_at)
      throw refused("invalid_download_url", "The project of this URL is archived.");
    return find_file(tx, download->file_id);
  });
  return content_of(platform, request, file);
}

}  // namespace

void add_download_routes(Router& router, const Platform& platform) {
  router.add("POST", "/v1/files/{file_id}/download_url", Access::kProject,
             [&platform](const Request& request) { return make_url(platform, request); });
  router.add("GET", "/v1/downloads/{file_id}", Access::kOpen,
             [&platform](const Request& request) { return open_url(platform, request); }, Threads::kObjects);
}

}  // namespace finetuned::gateway
