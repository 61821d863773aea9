#pragma once

#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "services/gateway/http.h"

namespace finetuned::gateway {

/// Whose key opens a route.
enum class Access { kOpen, kProject, kAdmin };
/// Who runs a route's handler: the threads that wait for the database, or those that call the object store (ObjectCalls), which
/// such a route may not be answered without.
enum class Threads { kBlocking, kObjects };

/// Answers a request whose body has been read whole. Runs on its route's threads and may block; throws ApiError.
using Handler = std::function<Response(const Request&)>;
/// Takes an answer, or what a Handler would have thrown; called once, from any thread.
using Answered = std::function<void(std::optional<Response>, std::exception_ptr)>;
/// Begins a request without a body on the connection's thread, where it must not block, and answers within a bounded time.
using AsyncHandler = std::function<void(const Request&, Answered)>;
/// Begins a request whose body is taken piece by piece. The Request outlives the consumer; both are of ObjectCalls' threads.
using StreamHandler = std::function<std::unique_ptr<BodyConsumer>(const Request&)>;

struct Route {
  std::string method;
  std::string path_template;      ///< `/v1/files/{file_id}`
  std::vector<std::string> path;  ///< its segments; `{...}` matches any one
  Access access = Access::kProject;
  std::uint64_t most_body_bytes = 0;
  Threads threads = Threads::kBlocking;
  Handler handler;               ///< exactly one of these three
  StreamHandler stream_handler;
  AsyncHandler async_handler;
};

/// Finds the route of a request: literal segments win over `{...}`.
class Router {
 public:
  explicit Router(std::uint64_t most_json_bytes) : most_json_bytes_(most_json_bytes) {}

  /// `path` is a template such as `/v1/files/{file_id}`. Aborts when method and template are there already.
  void add(std::string method, std::string_view path, Access access, Handler handler,
           Threads threads = Threads::kBlocking);
  void add_stream(std::string method, std::string_view path, Access access, std::uint64_t most_body_bytes,
                  StreamHandler handler);
  void add_async(std::string method, std::string_view path, Access access, AsyncHandler handler);

  /// The route, with request.params filled; for HEAD the one of GET. Throws ApiError 404 `unknown_url`, or 405
  /// `method_not_allowed` naming the methods that the path has.
  const Route& find(Request& request) const;

  /// The methods that a path takes, as `Allow` lists them: `GET, HEAD, DELETE`. Empty where there is nothing.
  std::string allowed(const std::vector<std::string>& segments) const;

  /// All of them, those with fewer parameters first, else as they were added.
  const std::vector<std::unique_ptr<Route>>& routes() const { return routes_; }

 private:
  void insert(Route route);
  std::uint64_t most_json_bytes_;
  std::vector<std::unique_ptr<Route>> routes_;
};

}  // namespace finetuned::gateway
