#include "services/gateway/http.h"

#include <algorithm>
#include <boost/json/serialize.hpp>

#include "base/errors.h"

namespace finetuned::gateway {

namespace {

/// Readers in front of this one may see the other value.
[[noreturn]] void refuse_repeated(const std::string& name) {
  throw base::bad_request("repeated_parameter", "The query has " + name + " more than once: give it once.", name);
}

}  // namespace

std::optional<std::string_view> Request::header(std::string_view name) const {
  for (const auto& [key, value] : headers)
    if (key == name) return value;
  return std::nullopt;
}

std::optional<std::string_view> Request::query_value(std::string_view name) const {
  std::optional<std::string_view> found;
  for (const auto& [key, value] : query) {
    if (key != name) continue;
    if (found) refuse_repeated(key);
    found = value;
  }
  return found;
}

StringPairs Request::query_map(std::string_view name) const {
  StringPairs map;
  for (const auto& [key, value] : query) {
    const std::string_view text = key;
    if (text.size() <= name.size() + 2 || !text.starts_with(name) || text[name.size()] != '[' || text.back() != ']') continue;
    const std::string_view inner = text.substr(name.size() + 1, text.size() - name.size() - 2);
    if (std::any_of(map.begin(), map.end(), [inner](const auto& pair) { return pair.first == inner; })) refuse_repeated(key);
    map.emplace_back(inner, value);
  }
  return map;
}

Response json_response(const base::json::value& body, int status) {
  return json_text_response(base::json::serialize(body), status);
}

Response json_text_response(std::string text, int status) {
  Response response;
  response.status = status;
  response.headers.emplace_back("content-type", "application/json");
  response.body = std::move(text);
  return response;
}

Response json_text_response(std::shared_ptr<const std::string> text) {
  Response response = json_text_response(std::string());
  response.kept_body = std::move(text);
  return response;
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 200: return "OK";
    case 206: return "Partial Content";
    case 304: return "Not Modified";
    case 400: return "Bad Request";
    case 401: return "Unauthorized";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 409: return "Conflict";
    case 411: return "Length Required";
    case 413: return "Content Too Large";
    case 415: return "Unsupported Media Type";
    case 416: return "Range Not Satisfiable";
    case 417: return "Expectation Failed";
    case 422: return "Unprocessable Content";
    case 429: return "Too Many Requests";
    case 431: return "Request Header Fields Too Large";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    case 507: return "Insufficient Storage";
    default: return "Status";
  }
}

}  // namespace finetuned::gateway
