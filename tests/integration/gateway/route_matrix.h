#pragma once

#include <string>
#include <vector>

#include "tests/integration/gateway/estate.h"

namespace finetuned::tests {

/// How a route is asked so that it does what it is for. `$name` in path and body is an id of an Estate.
struct MatrixEntry {
  std::string route;  ///< `POST /v1/files/{file_id}/download_url`, as the router has it
  std::string body = {};
  int status = 200;   ///< of the answer to whoever may ask
  bool form = false;  ///< the body is multipart
  bool open = false;  ///< no key is asked for

  std::string method() const { return route.substr(0, route.find(' ')); }
  std::string path() const { return route.substr(route.find(' ') + 1); }
  bool takes_body() const { return method() == "POST" || method() == "PUT"; }
  /// Names of the ids in the path, in order: as Estate::ids has them.
  std::vector<std::string> parameters() const;
  /// The path with these in the parameters' place, percent-encoded where it must be.
  std::string path_with(const std::vector<std::string>& values) const;
  std::string path_of(const Estate& estate) const;
};

/// One for every route that the gateway serves.
const std::vector<MatrixEntry>& route_matrix();

}  // namespace finetuned::tests
