#pragma once

#include <string>
#include <vector>

#include "base/settings.h"

namespace finetuned::services {

/// One thing that was looked at, and what to do about it.
struct Check {
  enum class Level { kOk, kWarning, kProblem };
  std::string name;
  Level level = Level::kOk;
  std::string detail;
  std::string remedy;  ///< of a warning and a problem
};
const char* to_string(Check::Level level);  ///< ok, warning, problem

/// Looks at everything that the platform of these settings needs, with short patience: PostgreSQL and the role's rights in it,
/// its clock, migrations, Redis, the object store, the data directory's disk, the ledger's last signed head, the workers. What
/// lies behind something that does not answer is left out. Throws ConfigError where no database is configured.
std::vector<Check> check_platform(const base::Settings& settings);

}  // namespace finetuned::services
