#include "services/gateway/router.h"

#include <algorithm>

#include "base/errors.h"
#include "base/expects.h"
#include "services/gateway/utf8.h"

namespace finetuned::gateway {

namespace {

bool is_parameter(const std::string& segment) { return segment.starts_with('{'); }

std::vector<std::string> split_template(std::string_view path) {
  base::expects(path.starts_with('/'), "a path template begins with /");
  std::vector<std::string> segments;
  while (!path.empty()) {
    path.remove_prefix(1);
    const auto end = path.find('/');
    segments.emplace_back(path.substr(0, end));
    path = end == std::string_view::npos ? std::string_view{} : path.substr(end);
  }
  return segments;
}

bool matches(const Route& route, const std::vector<std::string>& segments) {
  return std::equal(route.path.begin(), route.path.end(), segments.begin(), segments.end(),
                    [](const std::string& expected, const std::string& actual) {
                      return is_parameter(expected) || expected == actual;
                    });
}

/// The path, decoded; what is too long to be a typing error is cut.
std::string shown(const std::vector<std::string>& segments) {
  constexpr std::size_t kMost = 200;
  std::string path;
  for (const std::string& segment : segments) path += "/" + segment;
  if (path.size() > kMost) {
    path.resize(kMost);
    while (!is_utf8(path)) path.pop_back();
    path += "...";
  }
  return path.empty() ? "/" : path;
}

std::ptrdiff_t parameters_in(const Route& route) {
  return std::count_if(route.path.begin(), route.path.end(), is_parameter);
}

}  // namespace

void Router::add(std::string method, std::string_view path, Access access, Handler handler, Threads threads) {
  insert({std::move(method), std::string(path), split_template(path), access, most_json_bytes_, threads, std::move(handler), nullptr, nullptr});
}

void Router::add_stream(std::string method, std::string_view path, Access access, std::uint64_t most_body_bytes,
                        StreamHandler handler) {
  insert({std::move(method), std::string(path), split_template(path), access, most_body_bytes, Threads::kObjects, nullptr, std::move(handler), nullptr});
}

void Router::add_async(std::string method, std::string_view path, Access access, AsyncHandler handler) {
  insert({std::move(method), std::string(path), split_template(path), access, most_json_bytes_, Threads::kBlocking, nullptr, nullptr, std::move(handler)});
}

void Router::insert(Route route) {
  for (const auto& other : routes_)
    base::expects(other->method != route.method || other->path != route.path, "a route is added once");
  routes_.push_back(std::make_unique<Route>(std::move(route)));
  // Fewer parameters first, so that a literal segment wins.
  std::stable_sort(routes_.begin(), routes_.end(),
                   [](const auto& a, const auto& b) { return parameters_in(*a) < parameters_in(*b); });
}

const Route& Router::find(Request& request) const {
  const std::string_view method = request.method == "HEAD" ? std::string_view("GET") : std::string_view(request.method);
  for (const auto& route : routes_) {
    if (route->method != method || !matches(*route, request.segments)) continue;
    for (std::size_t i = 0; i < route->path.size(); ++i)
      if (is_parameter(route->path[i])) request.params.push_back(request.segments[i]);
    return *route;
  }
  const std::string methods = allowed(request.segments);
  if (methods.empty())
    throw base::ApiError(404, "invalid_request_error", "unknown_url",
                         "There is nothing at this URL: " + request.method + " " + shown(request.segments) + ". GET /openapi.json lists all that there is.");
  throw base::ApiError(405, "invalid_request_error", "method_not_allowed",
                       "This URL does not take " + request.method + "; it takes " + methods + ".");
}

std::string Router::allowed(const std::vector<std::string>& segments) const {
  std::string methods;
  for (const auto& route : routes_) {
    if (!matches(*route, segments)) continue;
    methods += (methods.empty() ? "" : ", ") + route->method;
    if (route->method == "GET") methods += ", HEAD";
  }
  return methods;
}

}  // namespace finetuned::gateway
