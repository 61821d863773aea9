#include "storage/key_store.h"

#include "base/expects.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "storage/cursor.h"

namespace finetuned::storage {

namespace {

constexpr char kColumns[] =
    "api_key.id, api_key.kind, api_key.organization_id, api_key.project_id, api_key.name, api_key.shown_prefix,"
    " extract(epoch FROM api_key.created_at)::bigint AS created_at,"
    " extract(epoch FROM api_key.last_used_at)::bigint AS last_used_at,"
    " extract(epoch FROM api_key.revoked_at)::bigint AS revoked_at,"
    " extract(epoch FROM api_key.expires_at)::bigint AS expires_at, account.id AS account_id,"
    " account.name AS account_name, account.role AS account_role,"
    " extract(epoch FROM account.created_at)::bigint AS account_created_at";
constexpr char kFrom[] =
    "api_key LEFT JOIN project ON project.id = api_key.project_id"
    " LEFT JOIN service_account account ON account.id = api_key.service_account_id";
constexpr char kLive[] =
    " AND api_key.revoked_at IS NULL AND (api_key.expires_at IS NULL OR api_key.expires_at > clock_timestamp())"
    " AND project.archived_at IS NULL AND account.deleted_at IS NULL";
const std::string kSelect = std::string("SELECT ") + kColumns + " FROM " + kFrom + " WHERE ";
constexpr std::size_t kShownBeyondPrefix = 4;

const char* name_of(KeyKind kind) { return kind == KeyKind::kAdmin ? "admin" : "project"; }
const char* secret_prefix(KeyKind kind) { return kind == KeyKind::kAdmin ? "sk-ftadmin-" : "sk-ft-"; }

std::optional<ServiceAccount> read_owner(const postgres::Row& row) {
  if (row.is_null("account_id")) return std::nullopt;
  return ServiceAccount{row.text("account_id"), row.text("project_id"), row.text("account_name"),
                        row.text("account_role"), row.integer("account_created_at")};
}

ApiKey read_key(const postgres::Row& row) {
  return {.id = row.text("id"),
          .kind = row.text("kind") == "admin" ? KeyKind::kAdmin : KeyKind::kProject,
          .organization_id = row.text("organization_id"),
          .project_id = row.maybe_text("project_id"),
          .name = row.text("name"),
          .shown_prefix = row.text("shown_prefix"),
          .created_at = row.integer("created_at"),
          .last_used_at = row.maybe_integer("last_used_at"),
          .revoked_at = row.maybe_integer("revoked_at"),
          .expires_at = row.maybe_integer("expires_at"),
          .service_account = read_owner(row)};
}

std::optional<ApiKey> maybe_key(const postgres::Result& rows) {
  if (rows.empty()) return std::nullopt;
  return read_key(rows.row(0));
}

}  // namespace

NewKey KeyStore::create_project_key(const std::string& project_id, const std::string& name) {
  const auto project = tx_.execute("SELECT organization_id FROM project WHERE id = $1", {project_id});
  if (project.empty()) throw base::not_found("No project '" + project_id + "'.");
  const std::string secret = base::make_secret(secret_prefix(KeyKind::kProject));
  return {ensure_key(KeyKind::kProject, project.row(0).text("organization_id"), project_id, name, secret), secret};
}

NewKey KeyStore::create_admin_key(const std::string& organization_id, const std::string& name,
                                  std::optional<std::int64_t> seconds) {
  const std::string secret = base::make_secret(secret_prefix(KeyKind::kAdmin));
  const ApiKey key = ensure_key(KeyKind::kAdmin, organization_id, std::nullopt, name, secret);
  if (!seconds) return {key, secret};
  tx_.execute("UPDATE api_key SET expires_at = created_at + make_interval(secs => $2) WHERE id = $1", {key.id, *seconds});
  return {read_key(tx_.execute(kSelect + "api_key.id = $1", {key.id}).row(0)), secret};
}

NewKey KeyStore::create_account_key(const ServiceAccount& account, const std::string& name) {
  const NewKey made = create_project_key(account.project_id, name);
  tx_.execute("UPDATE api_key SET service_account_id = $2 WHERE id = $1", {made.key.id, account.id});
  return {read_key(tx_.execute(kSelect + "api_key.id = $1", {made.key.id}).row(0)), made.secret};
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
  return read_key(tx_.execute(kSelect + "sha256 = $1", {sha256}).row(0));
}

std::optional<ApiKey> KeyStore::authenticate(const std::string& secret) {
  // The look-up is by the secret's hash, so its time tells nothing about any stored secret.
  return maybe_key(tx_.execute(kSelect + "sha256 = $1" + kLive, {base::sha256_hex(secret)}));
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

bool KeyStore::lives(const std::string& id) {
  return !tx_.execute(kSelect + "api_key.id = $1" + kLive, {id}).empty();
}

Page<ApiKey> KeyStore::list(const std::optional<std::string>& project_id, const PageRequest& request) {
  return read_page(tx_, request, "api_key", "id", "project_id", kSelect + "($1::text IS NULL OR api_key.project_id = $1)",
                   {project_id}, read_key);
}

std::optional<ApiKey> KeyStore::find(const std::string& id) {
  return maybe_key(tx_.execute(kSelect + "api_key.id = $1", {id}));
}

std::optional<ApiKey> KeyStore::find_admin_key(const std::string& organization_id, const std::string& id) {
  return maybe_key(tx_.execute(kSelect + "api_key.organization_id = $1 AND kind = 'admin' AND api_key.id = $2"
                                         " AND api_key.revoked_at IS NULL",
                               {organization_id, id}));
}

std::optional<ApiKey> KeyStore::find_project_key(const std::string& project_id, const std::string& id) {
  return maybe_key(tx_.execute(kSelect + "api_key.project_id = $1 AND api_key.id = $2 AND api_key.revoked_at IS NULL",
                               {project_id, id}));
}

Page<ApiKey> KeyStore::list_admin_keys(const std::string& organization_id, const PageRequest& request) {
  return read_listing(tx_, request,
                      {.table = "api_key", .key = "id", .columns = kColumns, .from = kFrom,
                       .owner = "api_key.organization_id = $1 AND kind = 'admin'",
                       .shown = "api_key.revoked_at IS NULL", .owner_values = {organization_id}},
                      read_key);
}

Page<ApiKey> KeyStore::list_project_keys(const std::string& project_id, const PageRequest& request) {
  return read_listing(tx_, request,
                      {.table = "api_key", .key = "id", .columns = kColumns, .from = kFrom,
                       .owner = "api_key.project_id = $1", .shown = "api_key.revoked_at IS NULL",
                       .owner_values = {project_id}},
                      read_key);
}

}  // namespace finetuned::storage
