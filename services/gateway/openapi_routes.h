#pragma once

#include <array>
#include <span>
#include <string_view>

namespace finetuned::gateway {

/// What an operation takes and answers. Types and fields are in the notation of openapi_types.h.
struct Exchange {
  std::string_view query = {};          ///< fields; an object among them is sent as `name[key]=value`
  std::string_view headers = {};        ///< fields, beyond those that the statuses below bring
  std::string_view body = {};           ///< type of a JSON body
  bool may_lack_body = false;
  std::string_view form = {};           ///< fields of a multipart body
  std::string_view answer = {};         ///< type of an answer in JSON
  std::string_view events = {};         ///< type of each event's data, of an answer as server-sent events
  std::string_view media = {};          ///< content type of an answer that is neither
  std::array<int, 3> statuses = {200};  ///< of such answers; zeros are none
  std::array<int, 4> refusals = {};     ///< of errors, beyond those that access, parameters and a body bring
};

/// What a route's entry in the dispatching table cannot tell.
struct Operation {
  std::string_view method, path;  ///< the route's, with its template
  std::string_view id;            ///< `operationId`
  std::string_view summary;
  Exchange exchange;
};

struct OperationGroup {
  std::string_view name, description;
  std::span<const Operation> operations;
};

/// An operation a route of the router; OpenApiTest.DescribesEachRouteAndNoneElse proves it.
std::span<const OperationGroup> operation_groups();

}  // namespace finetuned::gateway
