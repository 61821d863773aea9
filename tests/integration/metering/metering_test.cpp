#include "services/metering/metering.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/ids.h"
#include "billing/admission.h"
#include "billing/ledger.h"
#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned::metering {
namespace {

using postgres::Scope;
using postgres::Transaction;

class MeteringTest : public testing::Test {
 protected:
  MeteringTest() : project_(tests::make_project(tests::pool())), model_(tests::make_base_model(tests::pool())),
                   metering_(tests::pool(), {}, base::SigningKey::load_or_create(directory_ / "signing.key"), billing::HeadFiles(directory_)) {
    tests::give_credit(tests::pool(), project_, 1'000'000'000);
  }

  billing::Balance balance() {
    return tests::pool().transact(Scope::system(),
                                  [&](Transaction& tx) { return billing::Ledger(tx).balance(project_.id); });
  }

  /// A job that ran to its end; its money is still held.
  storage::Job unsettled_job() {
    const auto file = tests::make_counted_file(tests::pool(), project_, model_, std::vector<std::uint32_t>(12, 20));
    const auto job = tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
      return billing::create_job(tx, tests::new_job(project_, model_, file));
    });
    tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      storage::JobLeases leases(tx);
      const auto claimed = leases.claim("test", 60);
      ASSERT_TRUE(leases.set_progress(claimed->lease, 3, 3, 240, std::nullopt));
      ASSERT_TRUE(leases.succeed(claimed->lease, "ft:test:org::" + job.id, {}, 240));
    });
    return job;
  }

  ~MeteringTest() override { std::filesystem::remove_all(directory_); }

  const std::filesystem::path directory_ = std::filesystem::temp_directory_path() / base::make_id("metering");
  storage::Project project_;
  storage::BaseModel model_;
  Metering metering_;
};

TEST_F(MeteringTest, SettlesWhatACrashLeftOpen) {
  unsettled_job();
  EXPECT_EQ(balance().held.value, 240'000);
  const Reconciliation done = metering_.reconcile();
  EXPECT_EQ(done.settled, 1u);
  EXPECT_THAT(done.verification.faults, testing::IsEmpty());
  EXPECT_EQ(balance().held.value, 0);
  EXPECT_EQ(balance().spent.value, 240'000);
  EXPECT_EQ(metering_.reconcile().settled, 0u);
}

TEST_F(MeteringTest, KeepsARowOfEachReconciliation) {
  const auto rows = [] {
    return tests::pool().transact(Scope::system(), [](Transaction& tx) {
      return tx.execute("SELECT count(*) AS rows FROM reconciliation").row(0).integer("rows");
    });
  };
  const auto before = rows();
  metering_.reconcile();
  EXPECT_EQ(rows(), before + 1);
}

TEST_F(MeteringTest, FindsABalanceThatWasTamperedWith) {
  tests::pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("UPDATE account SET credits_posted = credits_posted + 5 WHERE project_id = $1 AND kind = 'prepaid'",
               {project_.id});
  });
  EXPECT_FALSE(metering_.reconcile().verification.faults.empty());
  tests::pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("UPDATE account SET credits_posted = credits_posted - 5 WHERE project_id = $1 AND kind = 'prepaid'",
               {project_.id});
  });
  EXPECT_TRUE(metering_.reconcile().verification.faults.empty());
}

}  // namespace
}  // namespace finetuned::metering
