#include "services/gateway/http.h"

#include <boost/json/serialize.hpp>

namespace finetuned::gateway {

namespace {

std::optional<std::string_view> first_of(const StringPairs& pairs, std::string_view name) {
  for (const auto& [key, value] : pairs)
    if (key == name) return value;
  return std::nullopt;
}

}  // namespace

std::optional<std::string_view> Request::header(std::string_view name) const { return first_of(headers, name); }

std::optional<std::string_view> Request::query_value(std::string_view name) const { return first_of(query, name); }

StringPairs Request::query_map(std::string_view name) const {
  StringPairs map;
  for (const auto& [key, value] : query) {
    const std::string_view text = key;
    if (text.size() > name.size() + 2 && text.starts_with(name) && text[name.size()] == '[' && text.back() == ']')
      map.emplace_back(text.substr(name.size() + 1, text.size() - name.size() - 2), value);
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
