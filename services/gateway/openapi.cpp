#include "services/gateway/openapi.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <string>
#include <vector>

#include "services/gateway/openapi_routes.h"
#include "services/gateway/openapi_schemas.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

constexpr std::string_view kDescription =
    "Fine-tuning as a service, in OpenAI's wire format. Project keys open a project, admin keys an organization. "
    "A client should ignore fields of answers that it does not know: there may be more of them one day. "
    "Where GET is answered so is HEAD, with the same head and no body.";

struct Header {
  const char* name;
  const char* type;
  const char* description;
};

constexpr Header kOfEveryAnswer[] = {
    {"x-request-id", "string", "Names the request in the platform's logs"},
    {"openai-version", "string", "The version of OpenAI's API whose form this is"},
    {"openai-processing-ms", "integer", "Milliseconds from the request's first byte"},
};
constexpr Header kOfKnownKeys[] = {
    {"openai-organization", "string", "The name of the key's organization"},
    {"x-ratelimit-limit-requests", "integer", "Requests that the tightest limit allows"},
    {"x-ratelimit-remaining-requests", "integer", "Requests that are left of it"},
    {"x-ratelimit-reset-requests", "string", "When all of them are there again"},
    {"x-ratelimit-limit-tokens", "integer", "Tokens that the tightest limit allows"},
    {"x-ratelimit-remaining-tokens", "integer", "Tokens that are left of it"},
    {"x-ratelimit-reset-tokens", "string", "When all of them are there again"},
};
constexpr Header kOfRetries[] = {
    {"x-should-retry", "string", "Whether the official clients send the request again"},
    {"retry-after", "integer", "Seconds to wait before that"},
    {"retry-after-ms", "integer", "The same in milliseconds"},
};
constexpr Header kOfUnknownKeys[] = {{"www-authenticate", "string", "Bearer"}};
constexpr Header kOfBytes[] = {
    {"accept-ranges", "string", "bytes"},
    {"content-range", "string", "Which bytes these are, of how many"},
    {"x-content-type-options", "string", "nosniff"},
};
constexpr Header kOfAttachments[] = {{"content-disposition", "string", "The file's name"}};
constexpr Header kOfVersions[] = {{"etag", "string", "For If-None-Match, and If-Range where there are ranges"}};
constexpr Header kOfCaches[] = {{"cache-control", "string", "no-cache"}};

struct Refusal {
  int status;
  const char* name;
  const char* description;
};

constexpr Refusal kRefusals[] = {
    {400, "BadRequest", "The request is not acceptable; `param` names the field"},
    {401, "NoSuchKey", "There is no key, or it opens nothing"},
    {403, "Forbidden", "This key does not open this"},
    {404, "NotFound", "There is no such thing, or it belongs to another"},
    {408, "TooSlow", "The body did not come in time: send it again"},
    {409, "Conflict", "Something else is in the way"},
    {413, "TooLarge", "The body is larger than this URL takes"},
    {415, "WrongMediaType", "The body has a Content-Encoding, or is no multipart form where one is taken"},
    {416, "NoSuchRange", "The range lies beyond the file"},
    {422, "KeyReused", "The Idempotency-Key came with another request before"},
    {429, "TooMuch", "A rate limit, a quota or the balance does not allow it"},
    {503, "NotNow", "Try again"},
    {504, "TooLate", "An answer took too long"},
    {507, "StorageFull", "Nothing was kept"},
};

std::vector<NamedType> all_types() {
  std::vector<NamedType> types(project_types().begin(), project_types().end());
  types.insert(types.end(), admin_types().begin(), admin_types().end());
  return types;
}

json::object reference(std::string_view kind, std::string_view name) {
  return {{"$ref", "#/components/" + std::string(kind) + "/" + std::string(name)}};
}

void refer_to(json::object& headers, std::span<const Header> named) {
  for (const Header& header : named) headers[header.name] = reference("headers", header.name);
}

const Operation* operation_of(const Route& route, const OperationGroup** group) {
  for (const OperationGroup& one : operation_groups())
    for (const Operation& operation : one.operations)
      if (operation.method == route.method && operation.path == route.path_template) {
        *group = &one;
        return &operation;
      }
  return nullptr;
}

json::array path_parameters(const Route& route) {
  json::array parameters;
  for (const std::string& segment : route.path)
    if (segment.starts_with('{'))
      parameters.push_back({{"name", segment.substr(1, segment.size() - 2)},
                            {"in", "path"},
                            {"required", true},
                            {"schema", {{"type", "string"}}}});
  return parameters;
}

bool holds(std::span<const int> statuses, int status) {
  return std::find(statuses.begin(), statuses.end(), status) != statuses.end();
}

/// Writes one operation.
class OperationWriter {
 public:
  OperationWriter(const Route& route, std::span<const NamedType> types) : route_(route), types_(types) {}

  json::object write() {
    json::array parameters = path_parameters(route_);
    const OperationGroup* group = nullptr;
    const Operation* operation = operation_of(route_, &group);
    json::object shape;
    if (operation) {
      exchange_ = operation->exchange;
      shape["operationId"] = operation->id;
      shape["summary"] = operation->summary;
      shape["tags"] = json::array{group->name};
      add_parameters(parameters);
    }
    if (!parameters.empty()) shape["parameters"] = std::move(parameters);
    if (!exchange_.body.empty() || !exchange_.form.empty()) shape["requestBody"] = request_body();
    shape["responses"] = responses();
    shape["security"] = security();
    return shape;
  }

 private:
  void add_parameters(json::array& parameters) const {
    add_fields(parameters, exchange_.query, "query");
    add_fields(parameters, exchange_.headers, "header");
    if (refuses(422)) add_fields(parameters, "'Idempotency-Key'?: string", "header");
    if (answers(304)) add_fields(parameters, "'If-None-Match'?: string", "header");
    if (answers(206)) add_fields(parameters, "'Range'?: string; 'If-Range'?: string", "header");
  }

  void add_fields(json::array& parameters, std::string_view fields, std::string_view place) const {
    const json::object schema = fields_schema(fields, types_);
    const json::value* properties = schema.if_contains("properties");
    if (!properties) return;
    const json::value* listed = schema.if_contains("required");
    const json::array required = listed ? listed->as_array() : json::array();
    for (const auto& [name, type] : properties->as_object()) {
      json::object parameter{{"name", name}, {"in", place}, {"schema", type}};
      if (std::find(required.begin(), required.end(), json::value(name)) != required.end()) parameter["required"] = true;
      const json::value* kind = type.as_object().if_contains("type");
      if (!kind || *kind == "object") parameter["style"] = "deepObject";
      parameters.push_back(std::move(parameter));
    }
  }

  json::object request_body() const {
    const bool json_body = exchange_.form.empty();
    const json::object schema = json_body ? type_schema(exchange_.body, types_) : fields_schema(exchange_.form, types_);
    json::object content;
    content[json_body ? "application/json" : "multipart/form-data"] = {{"schema", schema}};
    return {{"description", "At most " + std::to_string(route_.most_body_bytes) + " bytes."},
            {"required", !exchange_.may_lack_body},
            {"content", std::move(content)}};
  }

  json::object responses() const {
    json::object shape;
    for (const int status : exchange_.statuses)
      if (status != 0) shape[std::to_string(status)] = success(status);
    std::vector<int> refusals(exchange_.refusals.begin(), exchange_.refusals.end());
    refusals.push_back(400);
    if (route_.access != Access::kOpen) refusals.insert(refusals.end(), {401, 403, 429});
    if (std::any_of(route_.path.begin(), route_.path.end(), [](const std::string& one) { return one.starts_with('{'); }))
      refusals.push_back(404);
    if (!exchange_.body.empty() || !exchange_.form.empty()) refusals.insert(refusals.end(), {408, 413, 415});
    std::sort(refusals.begin(), refusals.end());
    for (const Refusal& refusal : kRefusals)
      if (std::binary_search(refusals.begin(), refusals.end(), refusal.status))
        shape[std::to_string(refusal.status)] = reference("responses", refusal.name);
    shape["default"] = reference("responses", "Failure");
    return shape;
  }

  bool answers(int status) const { return holds(exchange_.statuses, status); }
  bool refuses(int status) const { return holds(exchange_.refusals, status); }

  json::object success(int status) const {
    json::object headers;
    refer_to(headers, kOfEveryAnswer);
    if (route_.access != Access::kOpen) refer_to(headers, kOfKnownKeys);
    if (answers(206)) refer_to(headers, kOfBytes);
    if (answers(206) || exchange_.media.starts_with("text/csv")) refer_to(headers, kOfAttachments);
    if (answers(304)) refer_to(headers, kOfVersions);
    if (!exchange_.events.empty() || (answers(304) && !answers(206))) refer_to(headers, kOfCaches);
    json::object shape{{"description", std::string(reason_phrase(status))}, {"headers", std::move(headers)}};
    json::object content;
    if (!exchange_.answer.empty()) content["application/json"] = {{"schema", type_schema(exchange_.answer, types_)}};
    if (!exchange_.events.empty()) content["text/event-stream"] = {{"schema", type_schema(exchange_.events, types_)}};
    if (!exchange_.media.empty()) content[exchange_.media] = json::object{};
    if (status != 304 && !content.empty()) shape["content"] = std::move(content);
    return shape;
  }

  json::array security() const {
    if (route_.access == Access::kOpen) return {};
    json::object needed;
    needed[route_.access == Access::kAdmin ? "admin_key" : "project_key"] = json::array();
    return {std::move(needed)};
  }

  const Route& route_;
  std::span<const NamedType> types_;
  Exchange exchange_;
};

json::object error_response(const Refusal& refusal) {
  json::object headers;
  refer_to(headers, kOfEveryAnswer);
  refer_to(headers, kOfKnownKeys);
  refer_to(headers, kOfRetries);
  if (refusal.status == 401) refer_to(headers, kOfUnknownKeys);
  if (refusal.status == 416) refer_to(headers, kOfBytes);
  return {{"description", refusal.description},
          {"headers", std::move(headers)},
          {"content", {{"application/json", {{"schema", reference("schemas", "Error")}}}}}};
}

void describe_headers(json::object& headers, std::span<const Header> named, bool always) {
  for (const Header& header : named) {
    headers[header.name] = {{"description", header.description}, {"schema", {{"type", header.type}}}};
    if (always) headers[header.name].as_object()["required"] = true;
  }
}

json::object components(std::span<const NamedType> types) {
  json::object schemas, responses, headers;
  for (const NamedType& type : types) schemas[type.name] = type_schema(type.type, types);
  for (const Refusal& refusal : kRefusals) responses[refusal.name] = error_response(refusal);
  responses["Failure"] = error_response({0, "Failure", "Any other error; 5xx are ours, and nothing was kept"});
  describe_headers(headers, kOfEveryAnswer, true);
  describe_headers(headers, kOfKnownKeys, false);
  describe_headers(headers, kOfRetries, false);
  describe_headers(headers, kOfUnknownKeys, false);
  describe_headers(headers, kOfBytes, false);
  describe_headers(headers, kOfAttachments, false);
  describe_headers(headers, kOfVersions, false);
  describe_headers(headers, kOfCaches, false);
  const auto bearer = [](std::string_view description) {
    return json::object{{"type", "http"}, {"scheme", "bearer"}, {"description", description}};
  };
  return {{"schemas", std::move(schemas)},
          {"responses", std::move(responses)},
          {"headers", std::move(headers)},
          {"securitySchemes", {{"project_key", bearer("A project's key: sk-ft-...")},
                               {"admin_key", bearer("An organization's admin key: sk-ftadmin-...")}}}};
}

}  // namespace

json::object openapi_document(const Router& router) {
  const std::vector<NamedType> types = all_types();
  json::array tags;
  for (const OperationGroup& group : operation_groups())
    tags.push_back({{"name", group.name}, {"description", group.description}});
  json::object paths;
  for (const auto& route : router.routes()) {
    std::string method = route->method;
    std::transform(method.begin(), method.end(), method.begin(), [](char c) { return static_cast<char>(c - 'A' + 'a'); });
    json::value& path = paths[route->path_template];
    if (!path.is_object()) path = json::object();
    path.as_object()[method] = OperationWriter(*route, types).write();
  }
  return {{"openapi", "3.1.0"},
          {"info", {{"title", "finetuned"}, {"version", FINETUNED_VERSION}, {"description", kDescription}}},
          {"servers", json::array{json::object{{"url", "/"}}}},
          {"tags", std::move(tags)},
          {"paths", std::move(paths)},
          {"components", components(types)}};
}

}  // namespace finetuned::gateway
