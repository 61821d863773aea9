#include <atomic>
#include <thread>

#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

class JobsTest : public GatewayTest {
 protected:
  JobsTest() { give_credit(pool(), tenant_.project, 1'000'000'000); }

  std::string create(const std::string& more = "") {
    const Answer answer = send("POST", "/v1/fine_tuning/jobs",
                               R"({"model":")" + base_.name + R"(","training_file":")" + file_.id + "\"" + more + "}");
    EXPECT_EQ(answer.status, 200) << answer.body;
    const json::value job = answer.json();
    return std::string(job.at("id").as_string());
  }
  std::string held() {
    const json::value balances = get("/v1/billing/balances").json();
    return std::string(balances.at("data").at(0).at("held").as_string());
  }

  storage::BaseModel base_ = make_base_model(pool());
  storage::File file_ = make_counted_file(pool(), tenant_.project, base_, std::vector<std::uint32_t>(20, 10));
};

TEST_F(JobsTest, ListsPageAndFilterByMetadata) {
  std::vector<std::string> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(create(R"(,"metadata":{"team":"a","n":")" + std::to_string(i) + "\"}"));
  create();
  const json::value first = get("/v1/fine_tuning/jobs?limit=2&metadata%5Bteam%5D=a").json();
  ASSERT_EQ(first.at("data").as_array().size(), 2u);
  EXPECT_EQ(first.at("object"), "list");
  EXPECT_EQ(first.at("has_more"), true);
  EXPECT_EQ(text(first.at("data").at(0).at("id")), ids[2]);  // newest first
  EXPECT_EQ(text(first.at("first_id")), ids[2]);
  EXPECT_EQ(text(first.at("last_id")), ids[1]);
  const json::value rest = get("/v1/fine_tuning/jobs?limit=2&metadata[team]=a&after=" + ids[1]).json();
  ASSERT_EQ(rest.at("data").as_array().size(), 1u);
  EXPECT_EQ(text(rest.at("data").at(0).at("id")), ids[0]);
  EXPECT_EQ(rest.at("has_more"), false);
  const json::value one = get("/v1/fine_tuning/jobs?metadata[team]=a&metadata[n]=1").json();
  ASSERT_EQ(one.at("data").as_array().size(), 1u);
  EXPECT_EQ(get("/v1/fine_tuning/jobs?limit=101").param(), "limit");
}

/// OpenAI's specification has it; it was refused.
TEST_F(JobsTest, MetadataNullListsJobsWithoutAny) {
  create(R"(,"metadata":{"team":"a"})");
  const std::string without = create(), empty = create(R"(,"metadata":{})");
  for (const char* query : {"metadata=null", "metadata="}) {
    const json::value list = get("/v1/fine_tuning/jobs?" + std::string(query)).json();
    ASSERT_EQ(list.at("data").as_array().size(), 2u) << query;
    EXPECT_EQ(text(list.at("first_id")), empty);
    EXPECT_EQ(text(list.at("last_id")), without);
  }
  for (const char* query : {"metadata=team", "metadata=null&metadata[team]=a"}) {
    const Answer refused = get("/v1/fine_tuning/jobs?" + std::string(query));
    EXPECT_EQ(refused.status, 400) << query;
    EXPECT_EQ(refused.param(), "metadata");
  }
}

TEST_F(JobsTest, AnotherJobsEventIsNoPlaceInTheListAndInTheStream) {
  const auto events = [](const std::string& id) { return "/v1/fine_tuning/jobs/" + id + "/events"; };
  const std::string mine = create(), other = create();
  const auto first_event = [&](const std::string& id) { return text(get(events(id)).json().at("first_id")); };
  EXPECT_EQ(get(events(mine) + "?after=" + first_event(mine)).status, 200);
  const Answer crossed = get(events(mine) + "?after=" + first_event(other)), unknown = get(events(mine) + "?after=ftevent-none");
  for (const Answer& answer : {crossed, unknown}) {
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_EQ(answer.code(), "invalid_cursor");
  }
  const std::string stream = "/v1/fine_tuning/jobs/" + mine + "/stream";
  EXPECT_EQ(send("GET", stream, "", {"Last-Event-ID: " + first_event(other)}).code(), "invalid_cursor");

  pool().transact(Scope::system(), [&](Transaction& tx) {
    for (const std::string& id : {mine, other})
      tx.execute("INSERT INTO job_checkpoint (id, job_id, project_id, step, trained_tokens, model_name, metrics, objects)"
                 " SELECT 'ftckpt-' || $1, id, project_id, 1, 1, 'm-' || $1, '{}', '{}' FROM job WHERE id = $1", {id});
  });
  const std::string checkpoints = "/v1/fine_tuning/jobs/" + mine + "/checkpoints?after=ftckpt-";
  EXPECT_EQ(get(checkpoints + mine).status, 200);
  EXPECT_EQ(get(checkpoints + other).code(), "invalid_cursor");
}

TEST_F(JobsTest, AQueuedJobIsCancelledAtOnceAndItsHoldReturned) {
  const std::string id = create();
  EXPECT_NE(held(), "0");
  const Answer answer = send("POST", "/v1/fine_tuning/jobs/" + id + "/cancel");
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json::value job = answer.json();
  EXPECT_EQ(job.at("status"), "cancelled");
  EXPECT_FALSE(job.at("finished_at").is_null());
  EXPECT_EQ(held(), "0");
  EXPECT_EQ(send("POST", "/v1/fine_tuning/jobs/" + id + "/cancel").json().at("status"), "cancelled");
}

TEST_F(JobsTest, WhoeverReadsTogetherSeesWhatWasCommittedBefore) {
  const std::string id = create(), path = "/v1/fine_tuning/jobs/" + id;
  std::atomic<bool> over = false;
  std::vector<std::jthread> others;  // so that reads wait for each other
  for (int i = 0; i < 6; ++i)
    others.emplace_back([&] {
      while (!over) {
        EXPECT_EQ(get(path).status, 200);
        EXPECT_EQ(get("/v1/fine_tuning/jobs/ftjob-000000000000000000000000").code(), "fine_tune_not_found");
      }
    });
  for (int n = 0; n < 100; ++n) {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE job SET metadata = jsonb_build_object('n', $2::text) WHERE id = $1", {id, std::to_string(n)});
    });
    ASSERT_EQ(text(get(path).json().at("metadata").at("n")), std::to_string(n));
  }
  over = true;
}

/// Each is of the sessions by which threads for sockets look whether jobs have changed.
constexpr const char* kReadingSessions = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'finetuned gateway reads'";

TEST_F(JobsTest, AnAnswerThatIsKeptGoesWithAnyChangeOfItsJob) {
  const std::string id = create(), path = "/v1/fine_tuning/jobs/" + id;
  const auto change = [&](const std::string& what) {
    pool().transact(Scope::system(), [&](Transaction& tx) { tx.execute("UPDATE job SET " + what + " WHERE id = $1", {id}); });
  };
  const auto read_often = [&] {
    for (int i = 0; i < 5; ++i) EXPECT_EQ(get(path).status, 200);
    return get(path).json();
  };
  EXPECT_EQ(read_often().at("status"), "queued");
  change("metadata = '{\"a\": \"b\"}'");
  EXPECT_EQ(read_often().at("metadata").at("a"), "b");
  change("state = 'running', started_at = clock_timestamp(), worker = 'w', lease_epoch = 1, lease_until = clock_timestamp() + interval '1 hour'");
  EXPECT_EQ(read_often().at("status"), "running");
  pool().transact(Scope::system(), [&](Transaction& tx) {
    storage::JobLeases leases(tx);
    ASSERT_TRUE(leases.succeed({id, 1}, "ft:made", {file_.id}, 200));
  });
  const json::value done = read_often();
  EXPECT_EQ(done.at("status"), "succeeded");
  EXPECT_EQ(text(done.at("result_files").at(0)), file_.id);
  const auto looked = pool().transact(Scope::system(), [&](Transaction& tx) {
    return tx.execute(std::string("SELECT pid ") + kReadingSessions + " AND query LIKE '%EXECUTE reading%'").size();
  });
  EXPECT_GE(looked, 1u) << "nobody looks whether jobs have changed";
}

TEST_F(JobsTest, ReadsGoOnWhereTheirSessionsEnd) {
  const std::string id = create(), path = "/v1/fine_tuning/jobs/" + id;
  std::size_t ended = 0;
  for (int n = 0; n < 20; ++n) {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("UPDATE job SET metadata = jsonb_build_object('n', $2::text) WHERE id = $1", {id, std::to_string(n)});
      ended += tx.execute(std::string("SELECT pg_terminate_backend(pid, 5000) ") + kReadingSessions).size();
    });
    ASSERT_EQ(text(get(path).json().at("metadata").at("n")), std::to_string(n));
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // some come back
    ASSERT_EQ(text(get(path).json().at("metadata").at("n")), std::to_string(n));
  }
  EXPECT_GE(ended, 2u);
}

TEST_F(JobsTest, AFailedJobCannotBeCancelledAndShowsItsError) {
  const std::string id = create();
  pool().transact(Scope::system(), [&](Transaction& tx) {
    storage::JobStore(tx).fail_before_start(id, {"invalid_training_file", "Line 3 is broken.", "training_file"});
  });
  const json::value job = get("/v1/fine_tuning/jobs/" + id).json();
  EXPECT_EQ(job.at("status"), "failed");
  EXPECT_EQ(job.at("error").at("code"), "invalid_training_file");
  EXPECT_EQ(job.at("error").at("message"), "Line 3 is broken.");
  EXPECT_EQ(job.at("error").at("param"), "training_file");
  const Answer answer = send("POST", "/v1/fine_tuning/jobs/" + id + "/cancel");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.code(), "job_already_ended");
}

TEST_F(JobsTest, EventsAreNewestFirstAndPage) {
  const std::string id = create();
  const auto events = [&](const std::string& query) { return get("/v1/fine_tuning/jobs/" + id + "/events" + query).json(); };
  const std::size_t before = events("").at("data").as_array().size();
  pool().transact(Scope::system(), [&](Transaction& tx) {
    storage::JobStore jobs(tx);
    jobs.append_event(id, {storage::EventLevel::kWarn, "careful", nullptr, false});
    jobs.append_event(id, {storage::EventLevel::kInfo, "Step 1/2", json::object{{"step", 1}, {"train_loss", 2.5}}, true});
  });
  const json::value list = events("?limit=2");
  ASSERT_EQ(list.at("data").as_array().size(), 2u);
  const json::value& metrics = list.at("data").at(0);
  EXPECT_EQ(metrics.at("object"), "fine_tuning.job.event");
  EXPECT_EQ(metrics.at("type"), "metrics");
  EXPECT_EQ(metrics.at("level"), "info");
  EXPECT_EQ(metrics.at("message"), "Step 1/2");
  EXPECT_EQ(metrics.at("data").at("train_loss"), 2.5);
  EXPECT_GT(metrics.at("created_at").as_int64(), 0);
  const json::value& message = list.at("data").at(1);
  EXPECT_EQ(message.at("type"), "message");
  EXPECT_EQ(message.at("level"), "warn");
  EXPECT_TRUE(message.at("data").is_object());
  EXPECT_EQ(list.at("has_more"), before > 0);
  const json::value rest = events("?after=" + std::string(message.at("id").as_string()));
  EXPECT_EQ(rest.at("data").as_array().size(), before);
}

TEST_F(JobsTest, CheckpointsHaveOpenAisShape) {
  const std::string id = create();
  pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("INSERT INTO job_checkpoint (id, job_id, project_id, step, trained_tokens, model_name, metrics, objects)"
               " VALUES ($1, $2, $3, 10, 200, 'ft:a:b:c:d:ckpt-step-10', '{\"step\":10,\"train_loss\":1.5}', '{}')",
               {"ftckpt-" + id.substr(6), id, tenant_.project.id});
  });
  const json::value list = get("/v1/fine_tuning/jobs/" + id + "/checkpoints").json();
  ASSERT_EQ(list.at("data").as_array().size(), 1u);
  const json::value& checkpoint = list.at("data").at(0);
  EXPECT_EQ(checkpoint.at("object"), "fine_tuning.job.checkpoint");
  EXPECT_EQ(text(checkpoint.at("fine_tuning_job_id")), id);
  EXPECT_EQ(checkpoint.at("fine_tuned_model_checkpoint"), "ft:a:b:c:d:ckpt-step-10");
  EXPECT_EQ(checkpoint.at("step_number"), 10);
  EXPECT_EQ(checkpoint.at("metrics").at("train_loss"), 1.5);
  EXPECT_EQ(list.at("has_more"), false);
  EXPECT_EQ(list.at("first_id"), checkpoint.at("id"));
}

TEST_F(JobsTest, AnotherProjectSeesNothing) {
  const std::string id = create();
  const Tenant other = make_tenant();
  const std::string path = "/v1/fine_tuning/jobs/" + id;
  for (const char* tail : {"", "/events", "/checkpoints"}) {
    const Answer answer = send_as(other.key, "GET", path + tail);
    EXPECT_EQ(answer.status, 404) << tail;
    EXPECT_EQ(answer.code(), "fine_tune_not_found");
  }
  EXPECT_EQ(send_as(other.key, "POST", path + "/cancel").status, 404);
  EXPECT_EQ(send_as(other.key, "GET", "/v1/fine_tuning/jobs?after=" + id).status, 400);
  EXPECT_EQ(get(path).json().at("status"), "queued");
  EXPECT_EQ(send("DELETE", "/v1/files/" + file_.id).status, 409);  // in use
}

}  // namespace
}  // namespace finetuned::tests
