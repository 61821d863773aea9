#include "services/gateway/openapi.h"

#include <boost/json/serialize.hpp>

#include "base/sha256.h"
#include "services/gateway/routes/routes.h"

namespace finetuned::gateway {

namespace {

struct Document {
  std::string text, etag;
};

Response document(const Document& document, const Request& request) {
  Response response;
  response.headers = {{"etag", document.etag}, {"cache-control", "no-cache"}};
  if (request.header("if-none-match") == std::string_view(document.etag)) {
    response.status = 304;
    return response;
  }
  response.headers.emplace_back("content-type", "application/json");
  response.body = document.text;
  return response;
}

}  // namespace

void add_openapi_routes(Router& router) {
  const auto whole = std::make_shared<Document>();  // shared, because a std::function is copied
  for (const char* path : {"/openapi.json", "/v1/openapi.json"})
    router.add("GET", path, Access::kOpen, [whole](const Request& request) { return document(*whole, request); });
  whole->text = base::json::serialize(openapi_document(router));
  whole->etag = "\"" + base::sha256_hex(whole->text) + "\"";
}

}  // namespace finetuned::gateway
