#include "services/metering/metering.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/json/parse.hpp>
#include <filesystem>
#include <thread>

#include "base/ids.h"
#include "base/errors.h"
#include "billing/admission.h"
#include "billing/archiving.h"
#include "billing/inference_charge.h"
#include "billing/ledger.h"
#include "billing/settlement.h"
#include "billing/spend_alerts.h"
#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "storage/organization_store.h"
#include "storage/spend_store.h"
#include "storage/webhook_store.h"
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

/// Of the project: an alert at so many cents, and what became of all.
class SpendAlertTest : public MeteringTest {
 protected:
  std::string alert(std::int64_t cents, bool of_project = true) {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      storage::Spender spender{project_.organization_id, std::nullopt};
      if (of_project) spender.project_id = project_.id;
      return storage::SpendStore(tx, spender).add_alert({.threshold_cents = cents, .recipients = {"a@b.c"}, .subject_prefix = {}}).id;
    });
  }
  void add_endpoint(const std::string& project, const std::string& event) {
    tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      storage::WebhookStore(tx).create({base::make_id("we"), project, "https://example.com/hook", {event}, {}, "sealed"});
    });
  }
  std::string hold(std::int64_t nano) {
    const std::string id = base::make_uuid();
    const auto job = tests::new_job(project_, model_, tests::make_file(tests::pool(), project_));
    tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      storage::JobStore(tx).insert(job);
      billing::Ledger(tx).hold(id, project_.id, {nano}, job.id, 1);
    });
    return id;
  }
  std::vector<std::string> rows(const std::string& sql) {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      const auto found = tx.execute(sql, {project_.organization_id});
      std::vector<std::string> all;
      for (std::size_t i = 0; i < found.size(); ++i) all.push_back(found.row(i).text("what"));
      return all;
    });
  }
  std::vector<std::string> audited() {
    return rows("SELECT resource_id AS what FROM audit_log WHERE organization_id = $1 AND type = 'spend_alert.reached' ORDER BY position");
  }
  std::vector<std::string> delivered() {
    return rows("SELECT d.body AS what FROM webhook_delivery d JOIN project p ON p.id = d.project_id WHERE p.organization_id = $1"
                " AND d.type = 'billing.spend_alert.reached' ORDER BY d.seq");
  }
};

TEST_F(SpendAlertTest, AReachedOneIsToldOnceAMonthByWhoeverNotices) {
  const std::string low = alert(10), high = alert(20), whole = alert(10, false);
  add_endpoint(project_.id, "billing.spend_alert.reached");
  add_endpoint(project_.id, "fine_tuning.job.succeeded");
  hold(99'999'999);
  EXPECT_EQ(metering_.tell_alerts(), 0u);
  hold(1);
  std::atomic<std::size_t> told{0};
  {
    std::vector<std::jthread> others;
    for (int i = 0; i < 4; ++i)
      others.emplace_back([&] {
        const auto pool = tests::make_pool(1);
        told += pool->transact(Scope::system(), [](Transaction& tx) { return billing::tell_spend_alerts(tx, 100); });
      });
  }
  EXPECT_EQ(told, 2u);
  EXPECT_THAT(audited(), testing::UnorderedElementsAre(low, whole));
  ASSERT_EQ(delivered().size(), 2u) << "to the endpoint that asked for it";
  for (const std::string& body : delivered()) {
    const auto event = boost::json::parse(body).as_object();
    EXPECT_EQ(event.at("type"), "billing.spend_alert.reached");
    EXPECT_EQ(event.at("data").at("threshold_amount"), 10);
    EXPECT_EQ(event.at("data").at("spent_nano"), "100000000");
  }
  EXPECT_EQ(metering_.tell_alerts(), 0u);
  hold(100'000'000);
  EXPECT_EQ(metering_.tell_alerts(), 1u);
  EXPECT_EQ(audited().back(), high);
  tests::make_owner_pool()->transact(Scope::system(), [&](Transaction& tx) {  // as if all of it had been a month ago
    tx.execute("UPDATE spend_alert_reached SET month = month - interval '1 month'");
  });
  EXPECT_EQ(metering_.tell_alerts(), 3u);
  EXPECT_EQ(metering_.tell_alerts(), 0u);
}

/// Of this month's charges alone, and not where the correction was corrected.
TEST_F(SpendAlertTest, WhatWasGivenBackIsNotSpent) {
  const std::string id = alert(10);
  const std::string held = hold(150'000'000), post = base::make_uuid(), back = base::make_uuid();
  const auto spent = [&] {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      return storage::SpendStore(tx, {project_.organization_id, project_.id}).spending().spent_nano;
    });
  };
  tests::pool().transact(Scope::system(), [&](Transaction& tx) {
    billing::Ledger ledger(tx);
    ledger.post(post, held, {150'000'000}, "for a test");
    ledger.correct(back, post, {70'000'000}, "for a test");
  });
  EXPECT_EQ(spent(), 80'000'000);
  EXPECT_EQ(metering_.tell_alerts(), 0u);
  tests::pool().transact(Scope::system(), [&](Transaction& tx) { billing::Ledger(tx).correct(base::make_uuid(), back, {30'000'000}, "not all of it"); });
  EXPECT_EQ(spent(), 110'000'000);
  EXPECT_EQ(metering_.tell_alerts(), 1u);
  EXPECT_EQ(audited(), std::vector<std::string>{id});
  tests::make_superuser_pool()->transact(Scope::system(), [&](Transaction& tx) {  // as if the charge had been a month ago
    tx.execute("SET LOCAL session_replication_role = replica");
    tx.execute("UPDATE transfer SET created_at = created_at - interval '32 days' WHERE id = $1::uuid", {post});
  });
  EXPECT_EQ(spent(), 0);
}

TEST_F(SpendAlertTest, AnotherThresholdIsAnotherAlertAndADeletedOneIsNone) {
  const std::string id = alert(10), gone = alert(5);
  hold(150'000'000);
  tests::pool().transact(Scope::system(), [&](Transaction& tx) {
    storage::SpendStore(tx, {project_.organization_id, project_.id}).remove_alert(gone);
  });
  EXPECT_EQ(metering_.tell_alerts(), 1u);
  const auto replace = [&](std::int64_t cents) {
    tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      storage::SpendStore(tx, {project_.organization_id, project_.id})
          .replace_alert(id, {.threshold_cents = cents, .recipients = {"a@b.c"}, .subject_prefix = {}});
    });
  };
  replace(16);
  EXPECT_EQ(metering_.tell_alerts(), 0u);
  replace(15);
  EXPECT_EQ(metering_.tell_alerts(), 1u);
  EXPECT_EQ(audited().size(), 2u);
}

/// A gateway died between the hold and the answer's end.
TEST_F(MeteringTest, GivesBackWhatForgottenRequestsHold) {
  const auto hold = [&](std::int64_t ago) {
    tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
      const auto terms = billing::inference_terms(tx, project_.id, model_.name);
      const auto held = billing::hold_inference(tx, project_.id, base::make_id("req"), *terms, {10, 10}, std::chrono::seconds(300));
      tx.execute("UPDATE inference_hold SET expires_at = expires_at - $2::bigint * interval '1 second' WHERE transfer_id = $1::uuid",
                 {held->transfer_id, ago});
    });
  };
  for (int i = 0; i < 120; ++i) hold(601);  // the longest an answer may take, and five minutes
  hold(200);
  EXPECT_EQ(metering_.expire_holds(), 120u);
  EXPECT_EQ(balance().held.value, 20'000);
  EXPECT_EQ(metering_.expire_holds(), 0u);
  EXPECT_THAT(metering_.reconcile().verification.faults, testing::IsEmpty());
}

/// The gateway died behind the commit that archived a project, or in the middle of its jobs.
TEST_F(MeteringTest, EndsTheJobsThatAnArchivedProjectLeft) {
  const auto file = tests::make_counted_file(tests::pool(), project_, model_, std::vector<std::uint32_t>(4, 20));
  const auto create = [&] {
    return tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
      return billing::create_job(tx, tests::new_job(project_, model_, file));
    });
  };
  const auto count = [&](const std::string& which) {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      return tx.execute("SELECT count(*) AS n FROM job WHERE project_id = $1 AND " + which, {project_.id}).row(0).integer("n");
    });
  };
  const auto running = create();
  tests::pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("UPDATE job SET queued_at = '2000-01-01' WHERE id = $1", {running.id});
    ASSERT_EQ(storage::JobLeases(tx).claim("test", 3600)->job.id, running.id);
  });
  tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
    billing::Creations creations(tx);
    for (int i = 0; i < 230; ++i) creations.create(tests::new_job(project_, model_, file));
  });
  tests::pool().transact(Scope::system(), [&](Transaction& tx) { storage::JobStore(tx).request_pause(create().id); });
  EXPECT_EQ(metering_.end_archived_jobs(), 0u) << "nothing is archived";
  tests::pool().transact(Scope::system(), [&](Transaction& tx) { storage::OrganizationStore(tx).archive_project(project_.id); });
  EXPECT_THROW(create(), base::ApiError);
  EXPECT_EQ(tests::pool().transact(Scope::system(), [&](Transaction& tx) { return billing::end_archived_jobs(tx, project_.id, 100); }), 100u);
  EXPECT_EQ(count("state = 'cancelled'"), 99) << "a batch, of which the first one runs";
  EXPECT_EQ(balance().held.value, 133 * 80'000);
  EXPECT_EQ(metering_.end_archived_jobs(), 132u);
  EXPECT_EQ(metering_.end_archived_jobs(), 0u);
  EXPECT_EQ(count("state = 'cancelled' AND settled_at IS NOT NULL"), 231);
  EXPECT_EQ(count("state = 'running' AND cancel_requested_at IS NOT NULL"), 1);
  EXPECT_EQ(balance().held.value, 80'000) << "what runs, until its worker has stopped";
  tests::pool().transact(Scope::system(), [&](Transaction& tx) {
    ASSERT_TRUE(storage::JobLeases(tx).finish_cancelled({running.id, 1}));
    billing::settle_job(tx, running.id);
  });
  EXPECT_EQ(balance().available.value, 1'000'000'000);
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
