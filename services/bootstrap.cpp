#include "services/bootstrap.h"

#include <map>
#include <sstream>

#include "base/errors.h"
#include "base/files.h"
#include "base/ids.h"
#include "base/sha256.h"
#include "billing/ledger.h"
#include "storage/key_store.h"
#include "storage/organization_store.h"

namespace finetuned::services {

namespace {

using postgres::Scope;
using postgres::Transaction;

constexpr const char* kProjectKey = "FINETUNED_API_KEY";
constexpr const char* kAdminKey = "FINETUNED_ADMIN_KEY";
constexpr std::uint64_t kMostKeyBytes = 64 * 1024;

struct Secrets {
  std::string project;
  std::string admin;
  bool made = false;
};

Secrets make_secrets() { return {base::make_secret("sk-ft-"), base::make_secret("sk-ftadmin-"), true}; }

Secrets read_secrets(const std::string& file) {
  std::map<std::string, std::string> values;
  std::istringstream lines(base::read_file(file, kMostKeyBytes));
  for (std::string line; std::getline(lines, line);)
    if (const auto equals = line.find('='); equals != std::string::npos)
      values[line.substr(0, equals)] = line.substr(equals + 1);
  const Secrets secrets{values[kProjectKey], values[kAdminKey], false};
  if (secrets.project.rfind("sk-ft-", 0) != 0 || secrets.admin.rfind("sk-ftadmin-", 0) != 0)
    throw base::UsageError(file + " holds no " + kProjectKey + " and " + kAdminKey +
                           ": name another --keys-file, or delete it to get new keys");
  return secrets;
}

/// The kept secrets; new ones are written down before the database learns their hashes, so that none is ever lost.
Secrets secrets_of(const BootstrapRequest& request) {
  if (request.keys_file.empty()) return make_secrets();
  if (std::filesystem::exists(request.keys_file)) return read_secrets(request.keys_file);
  Secrets secrets = make_secrets();
  base::write_durably(request.keys_file,
                      std::string(kProjectKey) + "=" + secrets.project + "\n" + kAdminKey + "=" + secrets.admin + "\n",
                      0600);
  return secrets;
}

void credit_once(Transaction& tx, const std::string& project_id, base::NanoDollars amount) {
  const std::string transfer = uuid_of("bootstrap credit of " + project_id);
  billing::Ledger ledger(tx);
  if (ledger.find(transfer)) return;
  ledger.credit(transfer, project_id, amount, "first credit");
}

}  // namespace

std::string uuid_of(const std::string& text) {
  std::string hex = base::sha256_hex(text).substr(0, 32);
  hex[12] = '8';  // RFC 9562: version 8, made by a rule of the application
  hex[16] = "89ab"[hex[16] % 4];
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" + hex.substr(16, 4) + "-" +
         hex.substr(20, 12);
}

Bootstrapped bootstrap(postgres::Pool& pool, const BootstrapRequest& request) {
  if (request.organization.empty() || request.project.empty())
    throw base::UsageError("--organization and --project need names");
  const Secrets secrets = secrets_of(request);
  return pool.transact(Scope::system(), [&](Transaction& tx) {
    storage::OrganizationStore organizations(tx);
    const storage::Organization organization = organizations.ensure_organization(request.organization);
    const storage::Project project = organizations.ensure_project(organization.id, request.project);
    storage::KeyStore keys(tx);
    keys.ensure_key(storage::KeyKind::kProject, organization.id, project.id, "bootstrap", secrets.project);
    keys.ensure_key(storage::KeyKind::kAdmin, organization.id, std::nullopt, "bootstrap", secrets.admin);
    if (request.credit && request.credit->value > 0) credit_once(tx, project.id, *request.credit);
    return Bootstrapped{.organization_id = organization.id,
                        .project_id = project.id,
                        .project_key = secrets.project,
                        .admin_key = secrets.admin,
                        .keys_are_new = secrets.made,
                        .available = billing::Ledger(tx).balance(project.id).available};
  });
}

}  // namespace finetuned::services
