#include "services/gateway/auth.h"

#include <algorithm>

#include "base/errors.h"
#include "base/sha256.h"
#include "storage/key_store.h"
#include "storage/organization_store.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace {

constexpr std::size_t kMostKeyBytes = 256;
constexpr std::string_view kScheme = "bearer ";  // in any case: RFC 9110

base::ApiError refused(int status, const char* code, const std::string& message) {
  return {status, "invalid_request_error", code, message};
}

std::string bearer_of(const Request& request) {
  const auto value = request.header("authorization").value_or("");
  const auto same = [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b - 'A' + 'a' : b); };
  if (value.size() <= kScheme.size() || !std::equal(kScheme.begin(), kScheme.end(), value.begin(), same))
    throw refused(401, "missing_api_key",
                  "You didn't provide an API key. Send it in the Authorization header: `Authorization: Bearer YOUR_KEY`.");
  const auto key = value.substr(kScheme.size());
  if (key.size() > kMostKeyBytes) throw refused(401, "invalid_api_key", "Incorrect API key provided.");
  return std::string(key);
}

std::optional<Principal> look_up(postgres::Pool& database, const std::string& secret) {
  return database.transact(postgres::Scope::system(), [&](postgres::Transaction& tx) -> std::optional<Principal> {
    storage::KeyStore keys(tx);
    const auto key = keys.authenticate(secret);
    if (!key) return std::nullopt;
    keys.touch(key->id);
    const auto organization = storage::OrganizationStore(tx).find_organization(key->organization_id);
    return Principal{.admin = key->kind == storage::KeyKind::kAdmin,
                     .key_id = key->id,
                     .project_id = key->project_id.value_or(""),
                     .organization_id = key->organization_id,
                     .organization_name = organization ? organization->name : std::string()};
  });
}

std::optional<Principal> principal_of(postgres::Pool& database, KeyCache& cache, const std::string& secret) {
  const std::string sha256 = base::sha256_hex(secret);
  const auto cached = cache.find(sha256);
  if (cached.known && !cached.due) return cached.principal;
  const auto begun = cache.begin(sha256);
  const auto principal = look_up(database, secret);
  cache.remember(sha256, principal, begun);
  return principal;
}

void check_header(const Request& request, std::string_view header, const std::string& own, const std::string& alias,
                  const char* code) {
  const auto asked = request.header(header);
  if (asked && !asked->empty() && *asked != own && *asked != alias)
    throw refused(401, code, "The header " + std::string(header) + " names another than the API key belongs to.");
}

void admit(std::optional<Principal> found, Request& request, Access access) {
  if (!found) throw refused(401, "invalid_api_key", "Incorrect API key provided.");
  request.principal = std::move(*found);
  const Principal& principal = request.principal;
  check_header(request, "openai-organization", principal.organization_id, principal.organization_name,
               "mismatched_organization");
  if (access == Access::kProject && !principal.admin)
    check_header(request, "openai-project", principal.project_id, principal.project_id, "mismatched_project");
  if (principal.admin != (access == Access::kAdmin))
    throw refused(403, "insufficient_permissions",
                  access == Access::kAdmin ? "This URL needs an admin key." : "This URL needs a project key, not an admin key.");
}

}  // namespace

void authenticate(postgres::Pool& database, KeyCache& cache, Request& request, Access access) {
  admit(principal_of(database, cache, bearer_of(request)), request, access);
}

bool authenticate_at_once(const KeyCache& cache, Request& request, Access access) {
  auto cached = cache.find(base::sha256_hex(bearer_of(request)));
  if (!cached.known || cached.due) return false;
  admit(std::move(cached.principal), request, access);
  return true;
}

}  // namespace finetuned::gateway
