#include "storage/key_store.h"

#include "base/expects.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "storage/cursor.h"

namespace finetuned::storage {

namespace {

constexpr char kSelect[] =
    "SELECT api_key.id, kind, api_key.organization_id, project_id, api_key.name, shown_prefix,"
    " extract(epoch FROM api_key.created_at)::bigint AS created_at,"
    " extract(epoch FROM last_used_at)::bigint AS last_used_at, extract(epoch FROM revoked_at)::bigint AS revoked_at"
    " FROM api_key LEFT JOIN project ON project.id = project_id WHERE ";
constexpr std::size_t kShownBeyondPrefix = 4;

const char* name_of(KeyKind kind) { return kind == KeyKind::kAdmin ? "admin" : "project"; }
const char* secret_prefix(KeyKind kind) { return kind == KeyKind::kAdmin ? "sk-ftadmin-" : "sk-ft-"; }

ApiKey read_key(const postgres::Row& row) {
  return {.id = row.text("id"),
          .kind = row.text("kind") == "admin" ? KeyKind::kAdmin : KeyKind::kProject,
          .organization_id = row.text("organization_id"),
          .project_id = row.maybe_text("project_id"),
          .name = row.text("name"),
          .shown_prefix = row.text("shown_prefix"),
          .created_at = row.integer("created_at"),
          .last_used_at = row.maybe_integer("last_used_at"),
          .revoked_at = row.maybe_integer("revoked_at")};
}

}  // namespace

NewKey KeyStore::create_project_key(const std::string& project_id, const std::string& name) {
  const auto project = tx_.execute("SELECT organization_id FROM project WHERE id = $1", {project_id});
  if (project.empty()) throw base::not_found("No project '" + project_id + "'.");
  const std::string secret = base::make_secret(secret_prefix(KeyKind::kProject));
  return {ensure_key(KeyKind::kProject, project.row(0).text("organization_id"), project_id, name, secret), secret};
}

NewKey KeyStore::create_admin_key(const std::string& organization_id, const std::string& name) {
  const std::string secret = base::make_secret(secret_prefix(KeyKind::kAdmin));
  return {ensure_key(KeyKind::kAdmin, organization_id, std::nullopt, name, secret), secret};
}

ApiKey KeyStore::ensure_key(KeyKind kind, const std::string& organization_id,
                            const std::optional<std::string>& project_id, const std::string& name,
                            const std::string& secret) {
  const std::string prefix = secret_prefix(kind);
  base::expects(secret.starts_with(prefix), "a key's secret begins as its kind's do");
  const std::string sha256 = base::sha256_hex(secret);
  tx_.execute(
      "INSERT INTO api_key (id, organization_id, project_id, kind, name, sha256, shown_prefix)"
      " VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (sha256) DO NOTHING",
      {base::make_id("key"), organization_id, project_id, name_of(kind), name, sha256,
       secret.substr(0, prefix.size() + kShownBeyondPrefix)});
  return read_key(tx_.execute(std::string(kSelect) + "sha256 = $1", {sha256}).row(0));
}

std::optional<ApiKey> KeyStore::authenticate(const std::string& secret) {
  // The look-up is by the secret's hash, so its time tells nothing about any stored secret.
  const auto rows = tx_.execute(std::string(kSelect) + "sha256 = $1 AND revoked_at IS NULL AND archived_at IS NULL",
                                {base::sha256_hex(secret)});
  if (rows.empty()) return std::nullopt;
  return read_key(rows.row(0));
}

void KeyStore::touch(const std::string& id) {
  tx_.execute(
      "UPDATE api_key SET last_used_at = clock_timestamp() WHERE id = $1"
      " AND (last_used_at IS NULL OR last_used_at < clock_timestamp() - interval '1 minute')",
      {id});
}

bool KeyStore::revoke(const std::string& id) {
  return tx_.execute("UPDATE api_key SET revoked_at = clock_timestamp() WHERE id = $1 AND revoked_at IS NULL", {id})
             .affected_rows() == 1;
}

Page<ApiKey> KeyStore::list(const std::optional<std::string>& project_id, const PageRequest& request) {
  return read_page(tx_, request, "api_key", "id", std::string(kSelect) + "($1::text IS NULL OR project_id = $1)",
                   {project_id}, read_key);
}

}  // namespace finetuned::storage
