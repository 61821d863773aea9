#pragma once

#include <optional>
#include <string>

#include "base/money.h"
#include "storage/postgres/pool.h"

namespace finetuned::services {

struct BootstrapRequest {
  std::string organization;
  std::string project;
  std::optional<base::NanoDollars> credit;  ///< given once, whatever number of times this runs
  std::string keys_file;  ///< holds the secrets (mode 0600); made when missing, read when there. Empty: none
};

struct Bootstrapped {
  std::string organization_id;
  std::string project_id;
  std::string project_key;
  std::string admin_key;
  bool keys_are_new = false;
  base::NanoDollars available;
};

/// Makes organization, project, a project key, an admin key and the first credit, where they are missing. Running it
/// again with the same `keys_file` changes nothing; without one each run makes new keys, since stored secrets cannot
/// be read back. Throws UsageError where the keys' file is not one.
Bootstrapped bootstrap(postgres::Pool& pool, const BootstrapRequest& request);

/// A UUID that is always the same for the same text: a transfer that must happen once.
std::string uuid_of(const std::string& text);

}  // namespace finetuned::services
