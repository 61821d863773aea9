#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "base/ids.h"
#include "billing/admission.h"
#include "billing/inference_charge.h"
#include "billing/ledger.h"
#include "billing/sealer.h"
#include "billing/settlement.h"
#include "billing/usage.h"
#include "billing/verify.h"
#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "storage/key_store.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned::tests {

/// How often a test tries: `otherwise`, or what the variable says.
inline int times(const char* variable, int otherwise) {
  const char* text = std::getenv(variable);
  return text && *text ? std::atoi(text) : otherwise;
}

/// A key of a project: its id.
inline std::string make_key(postgres::Pool& pool, const storage::Project& project) {
  return pool.transact(postgres::Scope::system(), [&](postgres::Transaction& tx) {
    return storage::KeyStore(tx).create_project_key(project.id, "test").key.id;
  });
}

/// A project with credit, and jobs of its own that end as told.
class BooksTest : public testing::Test {
 protected:
  using Scope = postgres::Scope;
  using Transaction = postgres::Transaction;

  storage::Project project = make_project(pool());
  storage::BaseModel model = make_base_model(pool());
  storage::File file = make_counted_file(pool(), project, model, {100, 200, 300});

  template <class Work>
  auto system(Work work) {
    return pool().transact(Scope::system(), work);
  }

  storage::Job create() {
    return pool().transact(Scope::project(project.id),
                           [&](Transaction& tx) { return billing::create_job(tx, new_job(project, model, file, 2)); });
  }
  /// The very job, whatever else waits.
  storage::JobLease claim(const storage::Job& job) {
    return system([&](Transaction& tx) {
      tx.execute("UPDATE job SET queued_at = '2000-01-01' WHERE id = $1", {job.id});
      const auto claimed = storage::JobLeases(tx).claim("test", 60);
      EXPECT_EQ(claimed->job.id, job.id);
      return claimed->lease;
    });
  }
  /// A checkpoint after so many steps, as the worker commits it.
  void checkpoint(const storage::JobLease& lease, const std::vector<std::int64_t>& tokens_after) {
    system([&](Transaction& tx) {
      const auto step = static_cast<std::int64_t>(tokens_after.size());
      ASSERT_TRUE(storage::JobLeases(tx).add_checkpoint(
          lease, {step, tokens_after.back(), "ft:c", boost::json::object{{"step", step}}, {}}, nullptr));
      billing::book_usage(tx, lease.job_id, lease.epoch, tokens_after);
    });
  }
  void succeed(const storage::JobLease& lease, const std::vector<std::int64_t>& tokens_after) {
    system([&](Transaction& tx) {
      storage::JobLeases leases(tx);
      const auto steps = static_cast<std::int64_t>(tokens_after.size());
      ASSERT_TRUE(leases.set_progress(lease, steps, steps, tokens_after.back(), std::nullopt));
      ASSERT_TRUE(leases.succeed(lease, "ft:" + lease.job_id, {}, tokens_after.back()));
      billing::book_usage(tx, lease.job_id, lease.epoch, tokens_after);
      billing::settle_job(tx, lease.job_id);
    });
  }
  storage::Job find(const std::string& id) {
    return system([&](Transaction& tx) { return *storage::JobStore(tx).find(id); });
  }
  billing::Balance balance() {
    return system([&](Transaction& tx) { return billing::Ledger(tx).balance(project.id); });
  }
  void seal_all() {
    while (system([](Transaction& tx) { return billing::seal_transfers(tx, 500); }) > 0)
      continue;
  }
  static std::string told(const std::vector<billing::LedgerFault>& faults) {
    std::string text;
    for (const billing::LedgerFault& fault : faults)
      text += fault.rule + ": " + fault.detail + "\n";
    return text;
  }
};

}  // namespace finetuned::tests
