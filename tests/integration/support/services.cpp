#include "tests/integration/support/services.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <mutex>
#include <vector>

#include "base/expects.h"
#include "base/ids.h"
#include "storage/postgres/grants.h"
#include "storage/postgres/migrator.h"

#ifdef __SANITIZE_ADDRESS__
/// libpqxx 6.4 forgets a result's 2 KB when it finds the connection broken while it wraps the result.
extern "C" const char* __lsan_default_suppressions() { return "leak:libpqxx-6.4\n"; }
#endif

namespace finetuned::tests {

namespace {

std::string require(const char* variable) {
  const char* value = std::getenv(variable);
  if (value && *value) return value;
  std::cerr << variable << " is not set: run this test by ./check or tests/with_services\n";
  std::_Exit(1);
}

/// The URL with another database's name: the part between the authority and the query.
std::string with_database(const std::string& url, const std::string& name) {
  const auto authority = url.find("://") + 3;
  const auto slash = url.find('/', authority);
  const auto query = url.find('?');
  return url.substr(0, std::min(slash, query)) + "/" + name + (query == std::string::npos ? "" : url.substr(query));
}

/// CREATE and DROP DATABASE refuse a transaction, hence the tool.
void run_psql(const std::string& sql) {
  const std::string command = "psql -X -q -v ON_ERROR_STOP=1 -d '" + require("FINETUNED_TEST_DATABASE_URL") +
                              "' -c '" + sql + "' >&2";
  if (std::system(command.c_str()) != 0) {
    std::cerr << "the test database's server refused: " << sql << "\n";
    std::_Exit(1);
  }
}

class Databases final : public testing::Environment {
 public:
  std::vector<std::string> names;
  std::string url;  ///< its owner's
  std::once_flag shared_once;
  std::unique_ptr<postgres::Pool> shared_pool;

  void TearDown() override {
    shared_pool.reset();
    // Without FORCE, which refuses where the server's own autovacuum is at work in there; the plain form sends it away,
    // and waits for sessions that are just ending.
    for (const std::string& name : names) run_psql("DROP DATABASE IF EXISTS " + name);
  }

  std::string make() {
    std::string name = "test_" + base::make_uuid();
    for (char& c : name)
      if (c == '-') c = '_';
    run_psql("CREATE DATABASE " + name);
    names.push_back(name);
    return with_database(require("FINETUNED_TEST_DATABASE_URL"), name);
  }
};

Databases& databases() {
  static auto* const environment =
      static_cast<Databases*>(testing::AddGlobalTestEnvironment(new Databases));  // GoogleTest owns it
  return *environment;
}

/// The URL with another user; deploy/local/services.sh makes them.
std::string as(std::string url, const std::string& role) {
  const std::string user = "user=";
  const auto at = url.find(user);
  base::expects(at != std::string::npos, "the test database's URL names its user");
  const auto end = std::min(url.find('&', at), url.size());
  return url.replace(at + user.size(), end - at - user.size(), role);
}

std::unique_ptr<postgres::Pool> make_pool_as(const std::string& role) {
  return std::make_unique<postgres::Pool>(postgres::PoolOptions{.url = as(database_url(), role), .connections = 1});
}

// Registered before main begins the tests, so that TearDown runs whichever test used it first.
[[maybe_unused]] const bool registered = (databases(), true);

}  // namespace

std::string make_empty_database() { return databases().make(); }

std::string application_url(const std::string& owner_url) { return as(owner_url, "finetuned_app"); }

std::string database_url() {
  Databases& all = databases();
  if (all.url.empty()) {
    all.url = all.make();
    postgres::Pool migrating({.url = all.url, .connections = 1});
    postgres::migrate(migrating, postgres::embedded_migrations());
    postgres::grant_to_application(migrating, "finetuned_app");
  }
  return application_url(all.url);
}

std::unique_ptr<postgres::Pool> make_pool(std::size_t connections) {
  postgres::PoolOptions options;
  options.url = database_url();
  options.connections = connections;
  return std::make_unique<postgres::Pool>(std::move(options));
}

std::unique_ptr<postgres::Pool> make_owner_pool() { return make_pool_as("finetuned"); }

std::unique_ptr<postgres::Pool> make_superuser_pool() { return make_pool_as("services"); }

postgres::Pool& pool() {
  Databases& all = databases();
  std::call_once(all.shared_once, [&] { all.shared_pool = make_pool(8); });  // a test's threads may be the first
  return *all.shared_pool;
}

redis::Address redis_address() {
  redis::Address address;
  address.socket = require("FINETUNED_TEST_REDIS_SOCKET");
  return address;
}

}  // namespace finetuned::tests
