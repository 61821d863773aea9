#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "storage/page.h"
#include "storage/postgres/transaction.h"
#include "storage/service_account_store.h"

namespace finetuned::storage {

enum class KeyKind { kProject, kAdmin };

struct ApiKey {
  std::string id;  ///< `key-...`
  KeyKind kind = KeyKind::kProject;
  std::string organization_id;
  std::optional<std::string> project_id;  ///< of project keys
  std::string name;
  std::string shown_prefix;  ///< the secret's first characters, for people to tell keys apart
  std::int64_t created_at = 0;
  std::optional<std::int64_t> last_used_at;
  std::optional<std::int64_t> revoked_at;
  std::optional<std::int64_t> expires_at;         ///< of admin keys; opens nothing from then on
  std::optional<ServiceAccount> service_account;  ///< whose key it is; none: made by the operator for the project
};

/// A key as it is shown once, at creation.
struct NewKey {
  ApiKey key;
  std::string secret;  ///< `sk-ft-...` or `sk-ftadmin-...`; only its SHA-256 is kept
};

/// API keys. All methods need the system scope (a key decides the scope).
class KeyStore {
 public:
  explicit KeyStore(postgres::Transaction& tx) : tx_(tx) {}

  NewKey create_project_key(const std::string& project_id, const std::string& name);
  NewKey create_admin_key(const std::string& organization_id, const std::string& name,
                          std::optional<std::int64_t> seconds = std::nullopt);
  NewKey create_account_key(const ServiceAccount& account, const std::string& name);
  /// Stores the hash of a secret that exists already (bootstrap with a kept key). Idempotent.
  ApiKey ensure_key(KeyKind kind, const std::string& organization_id, const std::optional<std::string>& project_id,
                    const std::string& name, const std::string& secret);

  /// The live key (neither revoked nor expired) whose secret this is, of a project that is not archived.
  std::optional<ApiKey> authenticate(const std::string& secret);
  /// Whether the key of that id still is one. In its project's scope too.
  bool lives(const std::string& id);
  /// Notes use, at most once a minute a key.
  void touch(const std::string& id);
  /// False when there is no such live key.
  bool revoke(const std::string& id);
  Page<ApiKey> list(const std::optional<std::string>& project_id, const PageRequest& request);

  std::optional<ApiKey> find(const std::string& id);
  /// Keys that are not revoked; expired ones are among them.
  std::optional<ApiKey> find_admin_key(const std::string& organization_id, const std::string& id);
  std::optional<ApiKey> find_project_key(const std::string& project_id, const std::string& id);
  Page<ApiKey> list_admin_keys(const std::string& organization_id, const PageRequest& request);
  Page<ApiKey> list_project_keys(const std::string& project_id, const PageRequest& request);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
