#pragma once

#include <map>
#include <string>

namespace finetuned::postgres {

/// What PostgreSQL's own programs (pg_dump, pg_restore) have to find in their environment to connect where `url` leads: PGHOST,
/// PGPASSWORD, ... On a command line every user of the machine would see the password. The session sees the rows of all
/// projects. Throws UsageError where libpq cannot read `url`.
std::map<std::string, std::string> connection_variables(const std::string& url);

/// `url` with what every session of ours has, where it does not say otherwise: a limit on connecting, and a name in
/// pg_stat_activity.
std::string with_session_options(const std::string& url, const std::string& application_name);

}  // namespace finetuned::postgres
