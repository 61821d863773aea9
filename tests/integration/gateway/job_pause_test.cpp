#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;
using storage::JobLease;
using storage::JobLeases;

class JobPauseTest : public GatewayTest {
 protected:
  JobPauseTest() {
    pool().transact(Scope::system(), [](Transaction& tx) {  // or a claim here would get what other tests left
      tx.execute("UPDATE job SET state = 'cancelled', finished_at = clock_timestamp(), lease_until = NULL WHERE finished_at IS NULL");
    });
    give_credit(pool(), tenant_.project, kCredit);
  }

  std::string create(const std::string& file) {
    const Answer answer =
        send("POST", "/v1/fine_tuning/jobs", R"({"model":")" + base_.name + R"(","training_file":")" + file + "\"}");
    EXPECT_EQ(answer.status, 200) << answer.body;
    return text(answer.json().at("id"));
  }
  Answer post(const std::string& id, const std::string& what) { return send("POST", "/v1/fine_tuning/jobs/" + id + "/" + what); }
  /// But for what only a job that waits has: queue_test.cpp.
  json::value job(const std::string& id) {
    json::value found = get("/v1/fine_tuning/jobs/" + id).json();
    found.as_object().erase("queue");
    return found;
  }
  std::string balance(const char* which) { return text(get("/v1/billing/balances").json().at("data").at(0).at(which)); }
  std::size_t event_count(const std::string& id) {
    return get("/v1/fine_tuning/jobs/" + id + "/events?limit=100").json().at("data").as_array().size();
  }
  JobLease claim() {
    return pool().transact(Scope::system(), [](Transaction& tx) { return JobLeases(tx).claim("worker", 60)->lease; });
  }
  template <class Work>
  auto as_worker(Work work) {
    return pool().transact(Scope::system(), [&](Transaction& tx) {
      JobLeases leases(tx);
      return work(leases);
    });
  }
  /// Asks for `what` twice: the answers are `status` both times, the second changes and tells nothing.
  void expect_idempotent(const std::string& id, const std::string& what, const char* status) {
    const Answer first = post(id, what);
    ASSERT_EQ(first.status, 200) << first.body;
    EXPECT_EQ(first.json().at("status"), status);
    const std::size_t told = event_count(id);
    const Answer again = post(id, what);
    EXPECT_EQ(again.status, 200) << again.body;
    EXPECT_EQ(again.json(), first.json());
    EXPECT_EQ(event_count(id), told);
  }
  void expect_refused(const Answer& answer, const std::string& code) {
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_EQ(answer.code(), code);
    EXPECT_EQ(answer.param(), "fine_tuning_job_id");
    EXPECT_EQ(answer.json().at("error").at("type"), "invalid_request_error");
  }

  static constexpr std::int64_t kCredit = 1'000'000'000;
  storage::BaseModel base_ = make_base_model(pool());
  storage::File file_ = make_counted_file(pool(), tenant_.project, base_, std::vector<std::uint32_t>(20, 10));
};

TEST_F(JobPauseTest, AQueuedJobPausesAndResumesWithItsHoldInPlace) {
  const std::string id = create(file_.id);
  const std::string held = balance("held");
  EXPECT_NE(held, "0");
  const json::value queued = job(id);
  expect_idempotent(id, "pause", "paused");
  const json::value paused = job(id);
  for (const auto& [key, value] : queued.as_object()) {  // the whole shape, and only the status is another
    ASSERT_TRUE(paused.as_object().contains(key)) << key;
    if (key == "status") continue;
    EXPECT_EQ(paused.at(key), value) << key;
  }
  EXPECT_EQ(paused.as_object().size(), queued.as_object().size());
  EXPECT_EQ(paused.at("object"), "fine_tuning.job");
  EXPECT_TRUE(paused.at("finished_at").is_null());
  EXPECT_EQ(balance("held"), held);
  expect_idempotent(id, "resume", "queued");
  EXPECT_EQ(job(id), queued);
  EXPECT_EQ(balance("held"), held);
}

TEST_F(JobPauseTest, AJobResumesThoughNothingIsLeftToHold) {
  create(file_.id);
  const std::int64_t price = std::stoll(balance("held"));
  tenant_ = make_tenant();
  give_credit(pool(), tenant_.project, price);
  const storage::File file = make_counted_file(pool(), tenant_.project, base_, std::vector<std::uint32_t>(20, 10));
  const std::string id = create(file.id);
  EXPECT_EQ(balance("available"), "0");
  post(id, "pause");
  EXPECT_EQ(balance("available"), "0");  // the hold keeps its place
  EXPECT_EQ(post(id, "resume").json().at("status"), "queued");
  EXPECT_EQ(balance("held"), std::to_string(price));
}

TEST_F(JobPauseTest, ARunningJobIsToldToPauseAndCanBeLeftRunning) {
  const std::string id = create(file_.id);
  const JobLease lease = claim();
  expect_idempotent(id, "pause", "running");
  EXPECT_TRUE(as_worker([&](JobLeases& leases) { return leases.peek(lease).pause_requested; }));
  expect_idempotent(id, "resume", "running");
  EXPECT_FALSE(as_worker([&](JobLeases& leases) { return leases.peek(lease).pause_requested; }));
  post(id, "pause");
  as_worker([&](JobLeases& leases) { return leases.release(lease, std::nullopt); });
  EXPECT_EQ(job(id).at("status"), "paused");
  EXPECT_TRUE(job(id).at("trained_tokens").is_null());
  expect_idempotent(id, "resume", "queued");
}

TEST_F(JobPauseTest, APausedJobIsCancelledOnceAndItsHoldReturnedOnce) {
  const std::string id = create(file_.id);
  post(id, "pause");
  expect_idempotent(id, "cancel", "cancelled");
  EXPECT_EQ(balance("held"), "0");
  EXPECT_EQ(balance("spent"), "0");
  EXPECT_EQ(balance("available"), std::to_string(kCredit));
  EXPECT_FALSE(job(id).at("finished_at").is_null());
}

TEST_F(JobPauseTest, AJobThatIsBeingCancelledIsNeitherPausedNorResumed) {
  const std::string id = create(file_.id);
  claim();
  post(id, "cancel");
  expect_refused(post(id, "pause"), "job_cancelling");
  expect_refused(post(id, "resume"), "job_cancelling");
}

TEST_F(JobPauseTest, AnEndedJobIsNeitherPausedNorResumed) {
  const std::string cancelled = create(file_.id);
  post(cancelled, "cancel");
  const std::string failed = create(file_.id);
  const JobLease failing = claim();
  as_worker([&](JobLeases& leases) { return leases.fail(failing, {"training_diverged", "It diverged.", std::nullopt}); });
  const std::string succeeded = create(file_.id);
  const JobLease ending = claim();
  as_worker([&](JobLeases& leases) { return leases.succeed(ending, "ft:a:b:c:d", {}, 200); });
  for (const std::string& id : {cancelled, failed, succeeded}) {
    const json::value before = job(id);
    for (const char* what : {"pause", "resume"}) expect_refused(post(id, what), "job_already_ended");
    EXPECT_EQ(job(id), before);
  }
}

TEST_F(JobPauseTest, AJobWhoseFilesAreBeingCheckedIsNotPausedYet) {
  const std::string id = create(upload("{}\n"));
  ASSERT_EQ(job(id).at("status"), "validating_files");
  expect_refused(post(id, "pause"), "job_not_started");
  expect_idempotent(id, "resume", "validating_files");
}

TEST_F(JobPauseTest, APausedJobsFileIsInUse) {
  const std::string id = create(file_.id);
  post(id, "pause");
  EXPECT_EQ(send("DELETE", "/v1/files/" + file_.id).status, 409);
}

TEST_F(JobPauseTest, AnotherProjectFindsNoJobToPause) {
  const std::string id = create(file_.id);
  const Tenant other = make_tenant();
  for (const char* what : {"pause", "resume"}) {
    for (const std::string& asked : {id, std::string("ftjob-000000000000000000000000"), std::string("nonsense")}) {
      const Answer answer = send_as(other.key, "POST", "/v1/fine_tuning/jobs/" + asked + "/" + what);
      EXPECT_EQ(answer.status, 404) << asked;
      EXPECT_EQ(answer.code(), "fine_tune_not_found");
    }
  }
  EXPECT_EQ(job(id).at("status"), "queued");
  post(id, "pause");
  EXPECT_EQ(send_as(other.key, "POST", "/v1/fine_tuning/jobs/" + id + "/resume").status, 404);
  EXPECT_EQ(job(id).at("status"), "paused");
}

}  // namespace
}  // namespace finetuned::tests
