#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/errors.h"
#include "base/json.h"
#include "services/gateway/http.h"
#include "services/gateway/platform.h"
#include "services/gateway/router.h"
#include "storage/organization_store.h"
#include "storage/postgres/transaction.h"
#include "storage/spend_store.h"

namespace finetuned::gateway {

/// What the routes under /v1/organization have in common. All of them take admin keys and work in the system scope, so
/// each of their queries names the key's organization, or a project that was found to be its.

/// Answers an admin's request inside one transaction, which may be run again. Throws ApiError.
using AdminHandler = base::json::object (*)(postgres::Transaction&, const Request&);
void add_admin_route(Router& router, const Platform& platform, const char* method, std::string_view path,
                     AdminHandler handler);

/// The same for a POST that makes something: answer_once (idempotency.h).
void add_admin_create_route(Router& router, const Platform& platform, std::string_view path, AdminHandler handler);

/// The project that the path's first parameter names. Throws ApiError 404 `project_not_found`, for another
/// organization's too.
storage::Project own_project(postgres::Transaction& tx, const Request& request);
/// The same for a change: locked until the end, and 400 `project_archived` where it is archived.
storage::Project open_project(postgres::Transaction& tx, const Request& request);

/// 404 `KIND_not_found`, for what the `param` of a path names.
base::ApiError no_such(const std::string& kind, const std::string& id,
                       const std::optional<std::string>& param = std::nullopt);

/// Writes a change into the organization's audit log; the last thing that a handler does. `payload` has the `id` of
/// what was changed.
void audit(postgres::Transaction& tx, const Request& request, const std::string& type, base::json::object payload,
           const std::optional<std::string>& project_id = std::nullopt);

/// Whose limits and alerts a path is about: with a project in it that project (`open`: for a change), else the key's
/// organization.
storage::Spender spender_of(postgres::Transaction& tx, const Request& request, bool open);
/// `project.spend_limit` or `organization.spend_limit`, for `what` = `spend_limit`.
std::string spender_object(const storage::Spender& spender, const std::string& what);

/// `name[]=a&name[]=b`, also without the brackets.
std::vector<std::string> query_list(const Request& request, std::string_view name);
/// `true` or `false`; false where it is not given. Throws ApiError 400.
bool query_flag(const Request& request, std::string_view name);

}  // namespace finetuned::gateway
