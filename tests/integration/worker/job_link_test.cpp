#include "services/worker/job_link.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "billing/admission.h"
#include "storage/job_store.h"
#include "tests/integration/platform/eventually.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned::worker {
namespace {

using postgres::Scope;
using postgres::Transaction;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

class JobLinkTest : public testing::Test {
 protected:
  JobLinkTest() : project_(tests::make_project(tests::pool())) {
    tests::give_credit(tests::pool(), project_, 1'000'000'000);
    const auto model = tests::make_base_model(tests::pool());
    const auto file = tests::make_counted_file(tests::pool(), project_, model, std::vector<std::uint32_t>(12, 20));
    tests::pool().transact(Scope::system(), [&](Transaction& tx) {  // jobs of other tests are not claimed
      tx.execute("UPDATE job SET state = 'cancelled', lease_until = NULL, finished_at = clock_timestamp()"
                 " WHERE finished_at IS NULL");
      billing::create_job(tx, tests::new_job(project_, model, file));
    });
    claimed_at_ = steady_clock::now();
    claimed_ = *tests::pool().transact(
        Scope::system(), [&](Transaction& tx) { return storage::JobLeases(tx).claim("test", options_.lease_seconds); });
  }

  storage::NewEvent event(int number) {
    storage::NewEvent made;
    made.message = "event " + std::to_string(number);
    made.data = boost::json::object{{"step", number}};
    made.is_metrics = true;
    return made;
  }

  std::vector<std::string> messages() {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      std::vector<std::string> found;
      const auto rows = tx.execute(
          "SELECT message FROM job_event WHERE job_id = $1 AND type = 'metrics' ORDER BY seq", {claimed_.job.id});
      for (std::size_t i = 0; i < rows.size(); ++i) found.push_back(rows.row(i).text("message"));
      return found;
    });
  }

  /// As the sweep and another worker's claim would: the lease is another's now.
  void take_over() {
    tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE job SET lease_epoch = lease_epoch + 1 WHERE id = $1", {claimed_.job.id});
    });
  }

  LinkOptions options_{.lease_seconds = 30, .heartbeat = milliseconds(500), .peek = milliseconds(100),
                       .flush = milliseconds(250), .most_pending = 20'000};
  storage::Project project_;
  storage::ClaimedJob claimed_;
  steady_clock::time_point claimed_at_;
};

TEST_F(JobLinkTest, CommitsEveryEventInOrderAndInFewCommits) {
  JobLink link(tests::pool(), claimed_, claimed_at_, options_);
  std::vector<std::string> expected;
  for (int i = 0; i < 3'000; ++i) {
    link.post(event(i), {.step = i, .total_steps = 3'000, .trained_tokens = i, .left = std::nullopt});
    expected.push_back("event " + std::to_string(i));
  }
  link.flush();
  EXPECT_EQ(messages(), expected);
  const auto commits = tests::pool().transact(Scope::system(), [&](Transaction& tx) {
    return tx.execute("SELECT count(DISTINCT xmin::text) AS n FROM job_event WHERE job_id = $1", {claimed_.job.id})
        .row(0)
        .integer("n");
  });
  EXPECT_LE(commits, 10);
}

TEST_F(JobLinkTest, AnEventIsSeenSoonWithoutAFlush) {
  JobLink link(tests::pool(), claimed_, claimed_at_, options_);
  link.post(event(1));
  EXPECT_TRUE(tests::eventually([&] { return messages().size() == 1; }, 2));
}

TEST_F(JobLinkTest, SeesACancelRequestWithinASecond) {
  JobLink link(tests::pool(), claimed_, claimed_at_, options_);
  EXPECT_FALSE(link.cancel_requested());
  tests::pool().transact(Scope::system(),
                         [&](Transaction& tx) { storage::JobStore(tx).request_cancel(claimed_.job.id); });
  EXPECT_TRUE(tests::eventually([&] { return link.cancel_requested(); }, 1));
  EXPECT_FALSE(link.lost());
}

TEST_F(JobLinkTest, ALostLeaseWritesNothingMore) {
  JobLink link(tests::pool(), claimed_, claimed_at_, options_);
  link.post(event(1));
  link.flush();
  take_over();
  link.post(event(2));
  EXPECT_THROW(link.flush(), LeaseLost);
  EXPECT_TRUE(link.lost());
  EXPECT_THROW(link.write([](Transaction&) { return true; }, [](Transaction&) { return true; }), LeaseLost);
  EXPECT_THAT(messages(), testing::ElementsAre("event 1"));
}

TEST_F(JobLinkTest, RenewsTheLeaseBeyondItsFirstEnd) {
  options_.lease_seconds = 1;
  options_.heartbeat = milliseconds(200);
  claimed_.lease.epoch = claimed_.job.lease_epoch;
  JobLink link(tests::pool(), claimed_, steady_clock::now(), options_);
  std::this_thread::sleep_for(milliseconds(2'500));
  EXPECT_FALSE(link.lost());
}

TEST_F(JobLinkTest, TheWatchdogEndsARunThatTheDatabaseNoLongerHears) {
  postgres::PoolOptions nowhere;
  nowhere.url = "postgresql:///finetuned?host=/nonexistent";
  nowhere.checkout_timeout = milliseconds(100);
  postgres::Pool away(nowhere);
  options_.lease_seconds = 1;
  JobLink link(away, claimed_, steady_clock::now(), options_);
  link.post(event(1));
  EXPECT_FALSE(link.lost());
  EXPECT_THROW(link.flush(), LeaseLost);
  EXPECT_TRUE(link.lost());
}

}  // namespace
}  // namespace finetuned::worker
