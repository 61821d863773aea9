#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "services/parts.h"
#include "storage/organization_store.h"

namespace CLI {
class App;
}

namespace finetuned::services {

/// Adds the operator's commands, which reach the database and the data directory by themselves: `models import|list`,
/// `admin bootstrap|credit|credit-limit|correct|keys|prices|projects|quotas|reseal|workers`,
/// `ledger verify|head|export|statement`, `audit verify`, `objects verify`, `backup`, `restore`.
///
/// A chosen command runs while `app` parses, and writes its result to stdout. It throws UsageError and FormatError for
/// what the operator has to change (exit 2), anything else for what went wrong on the way (exit 1). `options` outlives
/// `app`.
void add_operator_commands(CLI::App& app, const ProgramOptions& options);

// The groups that it is made of.
void add_model_commands(CLI::App& app, const ProgramOptions& options);
void add_admin_commands(CLI::App& app, const ProgramOptions& options);
void add_price_commands(CLI::App& admin, const ProgramOptions& options);
void add_quota_commands(CLI::App& admin, const ProgramOptions& options);
void add_reseal_command(CLI::App& admin, const ProgramOptions& options);
void add_ledger_commands(CLI::App& app, const ProgramOptions& options);
void add_audit_commands(CLI::App& app, const ProgramOptions& options);
void add_objects_commands(CLI::App& app, const ProgramOptions& options);
void add_backup_commands(CLI::App& app, const ProgramOptions& options);

/// By id, or by a name that only one project has. Throws UsageError.
storage::Project find_project(postgres::Transaction& tx, const std::string& id_or_name);
/// Unix time of `2026-11-23` (its start, UTC) or `2026-11-23T21:45:29Z`, none of an empty text. Throws UsageError, which names the option.
std::optional<std::int64_t> read_time(const std::string& option, const std::string& text);

}  // namespace finetuned::services
