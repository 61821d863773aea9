#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned {

using postgres::Scope;
using postgres::Transaction;
using storage::JobLease;
using storage::JobLeases;
using storage::JobState;
using storage::JobStore;
using tests::pool;

/// A project, a file and a base, and a job's ways through a worker.
class Jobs : public testing::Test {
 protected:
  template <class Work>
  auto system(Work work) {
    return pool().transact(Scope::system(), work);
  }

  void SetUp() override {  // the jobs of tests before this one are none of its business
    system([](Transaction& tx) {
      tx.execute(
          "UPDATE job SET state = 'cancelled', finished_at = clock_timestamp(), lease_until = NULL"
          " WHERE finished_at IS NULL");
    });
  }

  storage::Project project = tests::make_project(pool());
  storage::BaseModel model = tests::make_base_model(pool());
  storage::File file = tests::make_file(pool(), project);

  std::string queue_job() {
    const auto job = tests::new_job(project, model, file);
    pool().transact(Scope::project(project.id), [&](Transaction& tx) {
      JobStore jobs(tx);
      jobs.insert(job);
      jobs.admit(job.id, {1, 1000, 0, std::nullopt});
    });
    return job.id;
  }

  JobLease claim(std::int64_t lease_seconds = 30) {
    const auto claimed = system([&](Transaction& tx) { return JobLeases(tx).claim("worker-1", lease_seconds); });
    EXPECT_TRUE(claimed);
    return claimed->lease;
  }

  /// The lease ends now, as after a silence.
  void expire(const std::string& id) {
    system([&](Transaction& tx) {
      tx.execute("UPDATE job SET lease_until = clock_timestamp() - interval '1 second' WHERE id = $1", {id});
    });
  }

  storage::Job find(const std::string& id) {
    return *pool().transact(Scope::project(project.id), [&](Transaction& tx) { return JobStore(tx).find(id); });
  }
};

}  // namespace finetuned
