#pragma once

#include "base/json.h"
#include "services/gateway/router.h"

namespace finetuned::gateway {

/// The OpenAPI 3.1 document of the router's routes. Their methods, paths, parameters in paths, access and bounds of
/// bodies, and the errors and headers that these bring, are read from the router; the rest is in openapi_routes.h. A route
/// that is not there has what the router knows alone.
base::json::object openapi_document(const Router& router);

}  // namespace finetuned::gateway
