#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "storage/postgres/pool.h"
#include "storage/redis/client.h"

namespace finetuned::tests {

/// A fresh, migrated database of this test program's own, made at its first use and dropped at its end; as the role that the
/// platform runs as, which owns nothing.
/// Reads FINETUNED_TEST_DATABASE_URL; aborts the program with a clear line where it is missing (run the tests by
/// `./check` or `tests/with_services`).
std::string database_url();

/// A pool on that database. `connections` as many as threads use it at once.
std::unique_ptr<postgres::Pool> make_pool(std::size_t connections = 4);
/// One pool shared by the program's tests.
postgres::Pool& pool();

/// A pool on that database as the role that owns its tables.
std::unique_ptr<postgres::Pool> make_owner_pool();

/// A pool on that database as its server's superuser, whom no grant and no policy binds: to be who alters books.
std::unique_ptr<postgres::Pool> make_superuser_pool();

/// Another empty, not migrated database, dropped with the other one at the program's end; as its owner.
std::string make_empty_database();
/// An owner's URL, as the role that the platform runs as.
std::string application_url(const std::string& owner_url);

/// Where the test Redis listens, from FINETUNED_TEST_REDIS_SOCKET.
redis::Address redis_address();

}  // namespace finetuned::tests
