#pragma once

#include <map>
#include <string>

namespace finetuned::postgres {

/// What PostgreSQL's own programs (pg_dump, pg_restore) have to find in their environment to connect where `url` leads: PGHOST,
/// PGPASSWORD, ... On a command line every user of the machine would see the password. The session sees the rows of all
/// projects. Throws UsageError where libpq cannot read `url`.
std::map<std::string, std::string> connection_variables(const std::string& url);

}  // namespace finetuned::postgres
