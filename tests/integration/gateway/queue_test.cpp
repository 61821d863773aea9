// What a waiting job tells of its place, and what a quote expects.

#include <gmock/gmock.h>

#include "base/ids.h"
#include "storage/donation_store.h"
#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "storage/quota_store.h"
#include "storage/worker_store.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;
using storage::JobLeases;

class QueueTest : public GatewayTest {
 protected:
  template <class Work>
  static auto system(Work work) {
    return pool().transact(Scope::system(), work);
  }

  QueueTest() {
    system([](Transaction& tx) {  // what other tests left
      tx.execute("UPDATE job SET state = 'cancelled', finished_at = clock_timestamp(), lease_until = NULL WHERE finished_at IS NULL");
      tx.execute("DELETE FROM worker");
    });
    give_credit(pool(), tenant_.project, 1'000'000'000);
  }

  std::string body(const std::string& more = "") const {
    return R"({"model":")" + base_.name + R"(","training_file":")" + file_.id + "\"" + more + "}";
  }
  std::string create(const std::string& more = "") {
    const Answer answer = send("POST", "/v1/fine_tuning/jobs", body(more));
    EXPECT_EQ(answer.status, 200) << answer.body;
    return text(answer.json().at("id"));
  }
  /// The answer that is no older than what was done before: those of the queue may be two seconds old.
  json::value job(const std::string& id) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2'100));
    return get("/v1/fine_tuning/jobs/" + id).json();
  }
  static void train_all(const storage::JobLease& lease, std::int64_t tokens, int seconds) {
    system([&](Transaction& tx) {
      tx.execute("UPDATE job SET claimed_at = clock_timestamp() - make_interval(secs => $2) WHERE id = $1", {lease.job_id, seconds});
      EXPECT_TRUE(JobLeases(tx).succeed(lease, "ft:" + lease.job_id, {}, tokens));
    });
  }
  static storage::JobLease claim() {
    return system([](Transaction& tx) { return JobLeases(tx).claim("worker", 60)->lease; });
  }

  storage::BaseModel base_ = make_base_model(pool());
  storage::File file_ = make_counted_file(pool(), tenant_.project, base_, std::vector<std::uint32_t>(20, 50));
};

TEST_F(QueueTest, AWaitingJobTellsWhyAndItsPlace) {
  const std::string first = create(), second = create();
  json::value waiting = job(second);
  EXPECT_EQ(waiting.at("queue").at("position"), 2);
  EXPECT_EQ(waiting.at("queue").at("priority"), 0);
  EXPECT_EQ(waiting.at("queue").at("reason"), "no_worker_alive");
  EXPECT_TRUE(waiting.at("queue").at("estimated_start").is_null());
  EXPECT_TRUE(waiting.at("estimated_finish").is_null());

  system([](Transaction& tx) { storage::WorkerStore(tx).seen({"worker", "cpu"}); });
  EXPECT_EQ(job(first).at("queue").at("reason"), "waiting_for_worker");
  waiting = get("/v1/fine_tuning/jobs/" + second).json();
  EXPECT_EQ(waiting.at("queue").at("reason"), "behind_own_jobs");
  EXPECT_THAT(text(waiting.at("queue").at("message")), testing::HasSubstr("One job starts before it."));

  const auto lease = claim();
  EXPECT_EQ(lease.job_id, first);
  EXPECT_FALSE(get("/v1/fine_tuning/jobs/" + first).json().as_object().contains("queue")) << "it waits no more";
  system([&](Transaction& tx) { storage::QuotaStore(tx).put(tenant_.project.id, {std::nullopt, 1, std::nullopt, std::nullopt}); });
  waiting = job(second);
  EXPECT_EQ(waiting.at("queue").at("reason"), "running_jobs_quota");
  EXPECT_EQ(waiting.at("queue").at("position"), 1);
}

/// A donated one that is stopped or withdrawn, and one that nobody named.
TEST_F(QueueTest, AJobDoesNotCountOnWorkersThatGetNone) {
  const std::string id = create(), lent = "lent-" + base::make_id("w").substr(2);
  const auto reason = [&] { return text(job(id).at("queue").at("reason")); };
  const auto change = [&](auto work) { system([&](Transaction& tx) { EXPECT_TRUE(work(storage::DonationStore(tx))); }); };
  const auto donate = [&](storage::DonationStore store) { return store.donate(lent, tenant_.project.id); };
  change(donate);
  system([&](Transaction& tx) { storage::WorkerStore(tx).seen({.name = lent + ":1", .device = "cpu", .known_as = lent, .engine = ""}); });
  EXPECT_EQ(reason(), "waiting_for_worker");
  change([&](storage::DonationStore store) { return store.stop(lent, "for a test"); });
  EXPECT_EQ(reason(), "no_worker_alive");
  change([&](storage::DonationStore store) { return store.allow(lent) && store.withdraw(lent); });
  EXPECT_EQ(reason(), "no_worker_alive");
  change(donate);
  EXPECT_EQ(reason(), "waiting_for_worker");
  system([&](Transaction& tx) {
    tx.execute("DELETE FROM worker");
    storage::WorkerStore(tx).seen({.name = "stranger:1", .device = "cpu", .known_as = "stranger-" + lent, .engine = ""});
  });
  EXPECT_EQ(reason(), "no_worker_alive");
}

TEST_F(QueueTest, AProjectThatHasHadItsShareIsToldSo) {
  const Tenant other = make_tenant();
  give_credit(pool(), other.project, 1'000'000'000);
  const auto theirs = make_counted_file(pool(), other.project, base_, std::vector<std::uint32_t>(20, 50));
  const std::string mine = create(), more = create();
  ASSERT_EQ(claim().job_id, mine);
  ASSERT_EQ(send_as(other.key, "POST", "/v1/fine_tuning/jobs",
                    R"({"model":")" + base_.name + R"(","training_file":")" + theirs.id + "\"}").status, 200);
  const json::value waiting = job(more);
  EXPECT_EQ(waiting.at("queue").at("reason"), "project_over_share");
  EXPECT_EQ(waiting.at("queue").at("position"), 2);
}

TEST_F(QueueTest, TimesComeFromMeasuredSpeed) {
  const auto expected = [&] { return send("POST", "/v1/fine_tuning/jobs/quote", body()).json(); };
  json::value quote = expected();
  EXPECT_EQ(quote.at("queue_position"), 1);
  EXPECT_TRUE(quote.at("expected_start").is_null()) << "nobody works";
  system([](Transaction& tx) { storage::WorkerStore(tx).seen({"worker", "cpu"}); });
  quote = expected();
  EXPECT_TRUE(quote.at("expected_start").is_int64());
  EXPECT_TRUE(quote.at("expected_finish").is_null()) << "nothing was measured yet";

  create();
  const std::int64_t tokens = quote.at("tokens").as_int64();
  train_all(claim(), tokens, 100);
  const std::string first = create(), second = create();
  const json::value one = job(first), two = get("/v1/fine_tuning/jobs/" + second).json();
  const auto took = [](const json::value& of) { return of.at("estimated_finish").as_int64() - of.at("queue").at("estimated_start").as_int64(); };
  EXPECT_NEAR(static_cast<double>(took(one)), 100, 3);
  EXPECT_NEAR(static_cast<double>(took(two)), 100, 3);
  EXPECT_EQ(two.at("queue").at("estimated_start"), one.at("estimated_finish"));
  quote = expected();
  EXPECT_EQ(quote.at("queue_position"), 3);
  EXPECT_NEAR(static_cast<double>(quote.at("expected_start").as_int64() - two.at("estimated_finish").as_int64()), 0, 5);
  EXPECT_NEAR(static_cast<double>(quote.at("expected_finish").as_int64() - quote.at("expected_start").as_int64()), 100, 3);
}

TEST_F(QueueTest, PriorityMovesAJobAmongItsProjectsOwn) {
  const std::string plain = create(), high = create(R"(,"priority":3)");
  const json::value quote = send("POST", "/v1/fine_tuning/jobs/quote", body(R"(,"priority":10)")).json();
  EXPECT_EQ(quote.at("queue_position"), 1);
  const json::value waiting = job(high);
  EXPECT_EQ(waiting.at("queue").at("position"), 1);
  EXPECT_EQ(waiting.at("queue").at("priority"), 3);
  EXPECT_EQ(get("/v1/fine_tuning/jobs/" + plain).json().at("queue").at("position"), 2);
  for (const char* wrong : {"11", "-11", "1.5", "\"high\"", "true"}) {
    const Answer refused = send("POST", "/v1/fine_tuning/jobs", body(std::string(R"(,"priority":)") + wrong));
    EXPECT_EQ(refused.status, 400) << wrong;
    EXPECT_EQ(refused.param(), "priority");
  }
}

TEST_F(QueueTest, AJobWhoseFileIsBeingCheckedSaysSo) {
  const std::string file = upload("{\"messages\":[]}\n");
  const Answer created = send("POST", "/v1/fine_tuning/jobs", R"({"model":")" + base_.name + R"(","training_file":")" + file + "\"}");
  ASSERT_EQ(created.status, 200) << created.body;
  const json::value waiting = get("/v1/fine_tuning/jobs/" + text(created.json().at("id"))).json();
  EXPECT_EQ(waiting.at("queue").at("reason"), "files_not_checked");
  EXPECT_TRUE(waiting.at("queue").at("position").is_null());
}

}  // namespace
}  // namespace finetuned::tests
