#include "services/parts.h"

#include <unistd.h>

#include "base/errors.h"
#include "storage/postgres/grants.h"

namespace finetuned::services {

base::Settings ProgramOptions::settings() const {
  if (config_file.empty()) return base::load_settings(std::nullopt);
  return base::load_settings(std::filesystem::path(config_file));
}

std::filesystem::path objects_directory(const base::Settings& settings) {
  return std::filesystem::absolute(settings.data_directory) / "objects";
}

std::filesystem::path models_directory(const base::Settings& settings) {
  return std::filesystem::absolute(settings.data_directory) / "models";
}

std::filesystem::path jobs_directory(const base::Settings& settings) {
  return std::filesystem::absolute(settings.data_directory) / "jobs";
}

std::filesystem::path ledger_directory(const base::Settings& settings) {
  return std::filesystem::absolute(settings.data_directory) / "ledger";
}

base::SigningKey ledger_key(const base::Settings& settings) {
  const std::string& file = settings.ledger.key_file;
  try {
    return base::SigningKey::load_or_create(file.empty() ? ledger_directory(settings) / "signing.key" : std::filesystem::path(file));
  } catch (const base::UsageError& error) {
    throw base::ConfigError(std::string("ledger.key_file: ") + error.what());
  }
}

postgres::PoolOptions pool_options(const base::Settings& settings, const std::string& application,
                                   std::size_t connections) {
  if (settings.database.url.empty())
    throw base::ConfigError("database.url is not set: name it in the --config file or as FINETUNED_DATABASE_URL");
  postgres::PoolOptions options;
  options.url = settings.database.url;
  options.connections = connections;
  options.statement_timeout = std::chrono::milliseconds(settings.database.statement_timeout_ms);
  options.application_name = "finetuned " + application;
  return options;
}

base::Settings as_owner(base::Settings settings) {
  if (!settings.database.owner_url.empty()) settings.database.url = settings.database.owner_url;
  return settings;
}

void grant_tables(const base::Settings& settings) {
  if (settings.database.owner_url.empty()) return;
  postgres::Pool owner(pool_options(as_owner(settings), "grant", 1));
  postgres::Pool application(pool_options(settings, "grant", 1));
  postgres::grant_to_application(owner, postgres::role_of(application));
}

redis::Address redis_address(const base::Settings& settings) {
  redis::Address address;
  address.socket = settings.redis.socket;
  address.host = settings.redis.host;
  address.port = settings.redis.port;
  address.timeout = std::chrono::milliseconds(settings.redis.timeout_ms);
  return address;
}

std::string process_name() {
  char host[256] = "localhost";
  ::gethostname(host, sizeof host - 1);
  return std::string(host) + ":" + std::to_string(::getpid());
}

}  // namespace finetuned::services
