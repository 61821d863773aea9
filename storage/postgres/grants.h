#pragma once

#include <string>

#include "storage/postgres/pool.h"

namespace finetuned::postgres {

/// Gives `role`, which may connect and owns nothing, what the platform's roles need of the tables, and nothing more: rows
/// of append-only tables can be read and added, those of tables where rows are marked as deleted not taken out, and no
/// table can be altered, truncated, or lose a trigger or a policy. `owner` owns the tables. Exact each time: what the role
/// had beyond that is taken away. Throws MigrationError where `role` is not there, stands above row-level security, or
/// may become the owner.
void grant_to_application(Pool& owner, const std::string& role);

/// Whom a pool's connections act as.
std::string role_of(Pool& pool);

}  // namespace finetuned::postgres
