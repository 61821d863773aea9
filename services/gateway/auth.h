#pragma once

#include "services/gateway/http.h"
#include "services/gateway/key_cache.h"
#include "services/gateway/router.h"

namespace finetuned::postgres {
class Pool;
}

namespace finetuned::gateway {

/// Reads `Authorization: Bearer KEY`, finds the live key (by its SHA-256, in the cache or else the database) and sets request.principal. Blocking. Throws ApiError:
///  - 401 `missing_api_key`, `invalid_api_key`;
///  - 401 `mismatched_project`, `mismatched_organization`: OpenAI-Project or OpenAI-Organization name another than the key's;
///  - 403 `insufficient_permissions`: a project key on an admin route, or the other way round.
void authenticate(postgres::Pool& database, KeyCache& cache, Request& request, Access access);

/// The same by the cache alone, without blocking. False: it has to be looked up.
bool authenticate_at_once(const KeyCache& cache, Request& request, Access access);

}  // namespace finetuned::gateway
