#include <gmock/gmock.h>

#include <atomic>
#include <boost/json/serialize.hpp>
#include <map>
#include <thread>

#include "billing/admission.h"
#include "billing/ledger.h"
#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "storage/key_store.h"
#include "tests/integration/gateway/admin_fixture.h"
#include "tests/integration/gateway/soon.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;
using testing::AllOf;
using testing::HasSubstr;

/// Jobs of 6,400 tokens, which cost $0.0064.
class QuotasTest : public AdminTest {
 protected:
  void SetUp() override { give_credit(pool(), tenant_.project, 1'000'000'000); }

  std::string body(const std::string& file) const {
    return R"({"model":")" + base_.name + R"(","training_file":")" + file + R"(","hyperparameters":{"n_epochs":1}})";
  }
  Answer create() { return send("POST", "/v1/fine_tuning/jobs", body(file_.id)); }
  void set_quotas(const std::string& quotas) { done("PUT", project("/quotas"), quotas); }
  void set_spend_limit(const std::string& path, int cents) {
    done("POST", path, R"({"currency":"USD","interval":"month","threshold_amount":)" + std::to_string(cents) + "}");
  }
  std::int64_t used(const char* quota) { return done("GET", project("/quotas")).at("used").at(quota).as_int64(); }
  std::size_t jobs() { return get("/v1/fine_tuning/jobs").json().at("data").as_array().size(); }
  static void expect_exceeded(const Answer& answer, const std::string& limit) {
    EXPECT_EQ(answer.status, 429) << answer.body;
    EXPECT_EQ(answer.code(), "quota_exceeded") << answer.body;
    EXPECT_EQ(text(answer.json().at("error").at("type")), "insufficient_quota");
    EXPECT_EQ(answer.header("x-should-retry"), "false");
    EXPECT_THAT(answer.message(), AllOf(HasSubstr(limit), HasSubstr("It frees when"))) << answer.body;
  }
  /// How many of so many requests at once are answered by 200; the others must be refused for a quota.
  static int successes(int threads, const std::function<Answer()>& request) {
    std::atomic<int> good = 0, refused = 0;
    {
      std::vector<std::jthread> all;
      for (int i = 0; i < threads; ++i)
        all.emplace_back([&] {
          const Answer answer = request();
          good += answer.status == 200;
          refused += answer.code() == "quota_exceeded";
        });
    }
    EXPECT_EQ(good + refused, threads);
    return good;
  }

  storage::BaseModel base_ = make_base_model(pool(), 100);
  storage::File file_ = make_counted_file(pool(), tenant_.project, base_, std::vector<std::uint32_t>(128, 50));
};

TEST_F(QuotasTest, QueuedJobsAreBounded) {
  set_quotas(R"({"queued_jobs":1})");
  const Answer first = create();
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(used("queued_jobs"), 1);
  const Answer refused = create();
  expect_exceeded(refused, "queued_jobs is 1");
  EXPECT_THAT(refused.message(), HasSubstr("of which 1 are used"));
  EXPECT_EQ(jobs(), 1u) << "nothing is created";
  const std::string job = "/v1/fine_tuning/jobs/" + text(first.json().at("id"));
  ASSERT_EQ(send("POST", job + "/pause").status, 200);
  expect_exceeded(create(), "queued_jobs");
  ASSERT_EQ(send("POST", job + "/cancel").status, 200);
  EXPECT_EQ(used("queued_jobs"), 0);
  EXPECT_EQ(create().status, 200);
}

/// Its keys were refused and nobody could cancel: the hold stayed for ever.
TEST_F(QuotasTest, AnArchivedProjectsHoldsAreGivenBack) {
  const std::string running = text(create().json().at("id")), paused = text(create().json().at("id")), queued = text(create().json().at("id"));
  ASSERT_EQ(send("POST", "/v1/fine_tuning/jobs/" + paused + "/pause").status, 200);
  pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("UPDATE job SET queued_at = '2000-01-01' WHERE id = $1", {running});
    ASSERT_EQ(storage::JobLeases(tx).claim("test", 60)->job.id, running);
  });
  done("POST", project("/archive"));
  pool().transact(Scope::system(), [&](Transaction& tx) {
    storage::JobStore jobs(tx);
    EXPECT_EQ(jobs.find(paused)->state, storage::JobState::kCancelled);
    EXPECT_EQ(jobs.find(queued)->state, storage::JobState::kCancelled);
    EXPECT_TRUE(jobs.find(queued)->settled);
    EXPECT_TRUE(jobs.find(running)->cancel_requested) << "its worker ends and settles it";
    EXPECT_EQ(billing::Ledger(tx).balance(tenant_.project.id).held.value, 6'400'000);
  });
}

TEST_F(QuotasTest, OfCreatesAtOnceAsManyWinAsFit) {
  set_quotas(R"({"queued_jobs":2})");
  EXPECT_EQ(successes(6, [&] { return create(); }), 2);
  EXPECT_EQ(jobs(), 2u);
}

TEST_F(QuotasTest, TokensOfAMonthAreBounded) {
  set_quotas(R"({"tokens_per_month":15000})");
  EXPECT_EQ(successes(4, [&] { return create(); }), 2);
  EXPECT_EQ(used("tokens_per_month"), 12800);
  expect_exceeded(create(), "tokens_per_month is 15000 tokens, of which 12800 are used; this needs 6400 more");
  const std::string id = text(get("/v1/fine_tuning/jobs").json().at("data").at(0).at("id"));
  ASSERT_EQ(send("POST", "/v1/fine_tuning/jobs/" + id + "/cancel").status, 200);
  EXPECT_EQ(used("tokens_per_month"), 6400) << "it trained nothing";
  EXPECT_EQ(create().status, 200);
}

TEST_F(QuotasTest, AJobThatWaitsForItsFileFailsWhereTheMonthHasNoRoomForIt) {
  set_quotas(R"({"tokens_per_month":100})");
  const std::string uploaded = upload("{\"messages\":[]}\n");
  const Answer waiting = send("POST", "/v1/fine_tuning/jobs", body(uploaded));
  ASSERT_EQ(waiting.status, 200) << waiting.body;
  const std::string id = text(waiting.json().at("id"));
  pool().transact(Scope::system(), [&](Transaction& tx) {
    // As intake leaves it: the other file's counts.
    tx.execute("INSERT INTO file_tokens (file_id, tokenizer_fingerprint, project_id, row_count, tokens, supervised_tokens,"
               " longest_tokens, longest_line, row_tokens) SELECT $1, tokenizer_fingerprint, project_id, row_count, tokens,"
               " supervised_tokens, longest_tokens, longest_line, row_tokens FROM file_tokens WHERE file_id = $2",
               {uploaded, file_.id});
    tx.execute("UPDATE file SET status = 'processed' WHERE id = $1", {uploaded});
    billing::admit_waiting_jobs(tx, 100);
  });
  const json::value job = get("/v1/fine_tuning/jobs/" + id).json();
  EXPECT_EQ(job.at("status"), "failed");
  EXPECT_EQ(text(job.at("error").at("code")), "quota_exceeded");
}

TEST_F(QuotasTest, StorageIsBoundedForFilesAndUploads) {
  const std::string content(100, 'x');
  const std::int64_t there = used("storage_bytes");
  set_quotas(R"({"storage_bytes":)" + std::to_string(there + 250) + "}");
  const std::string form = multipart({field_part("purpose", "user_data"), file_part("a.txt", content)});
  const std::size_t objects = gateway_->stored_objects();
  EXPECT_EQ(successes(5, [&] { return post_multipart(form); }), 2);
  EXPECT_TRUE(soon([&] { return gateway_->stored_objects() == objects + 2; })) << "what is refused leaves no object";
  EXPECT_EQ(used("storage_bytes"), there + 200);
  expect_exceeded(post_multipart(form), "storage_bytes");

  const json::object wanted{{"filename", "b.txt"}, {"purpose", "user_data"}, {"bytes", 100}, {"mime_type", "text/plain"}};
  const std::string path = "/v1/uploads/" + text(send("POST", "/v1/uploads", json::serialize(wanted)).json().at("id"));
  Call part;
  part.method = "POST";
  part.path = path + "/parts";
  part.key = tenant_.key;
  part.body = multipart({"Content-Disposition: form-data; name=\"data\"; filename=\"blob\"\r\nContent-Type: "
                         "application/octet-stream\r\n\r\n" + content});
  part.content_type = kMultipart;
  const std::string ids = R"({"part_ids":[")" + text(call(gateway_->port(), part).json().at("id")) + "\"]}";
  expect_exceeded(send("POST", path + "/complete", ids), "storage_bytes");
  const std::string file = text(get("/v1/files?purpose=user_data").json().at("data").at(0).at("id"));
  ASSERT_EQ(send("DELETE", "/v1/files/" + file).status, 200);
  EXPECT_EQ(send("POST", path + "/complete", ids).status, 200) << "the upload is still there to complete";
}

TEST_F(QuotasTest, UploadsOfADayAreBoundedAlsoWhereTheyAreDeleted) {
  const std::int64_t there = used("upload_bytes_per_day");
  set_quotas(R"({"upload_bytes_per_day":)" + std::to_string(there + 250) + "}");
  const std::string form = multipart({field_part("purpose", "user_data"), file_part("a.txt", std::string(100, 'x'))});
  const std::size_t objects = gateway_->stored_objects();
  EXPECT_EQ(successes(5, [&] { return post_multipart(form); }), 2);
  EXPECT_TRUE(soon([&] { return gateway_->stored_objects() == objects + 2; })) << "what is refused leaves no object";
  const std::string file = text(get("/v1/files?purpose=user_data").json().at("data").at(0).at("id"));
  ASSERT_EQ(send("DELETE", "/v1/files/" + file).status, 200);
  expect_exceeded(post_multipart(form), "upload_bytes_per_day is " + std::to_string(there + 250) + " bytes, of which " +
                                            std::to_string(there + 200) + " are used; this needs 100 more");
  pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("UPDATE file SET created_at = created_at - interval '1 day' WHERE id = $1", {file});
  });
  EXPECT_EQ(used("upload_bytes_per_day"), there + 100);
  EXPECT_EQ(post_multipart(form).status, 200);
}

TEST_F(QuotasTest, EveryLimitIsSeenWithItsUse) {
  set_quotas(R"({"queued_jobs":9,"running_jobs":2,"storage_bytes":5000000,"upload_bytes_per_day":4000000,"tokens_per_month":70000})");
  set_spend_limit(project("/spend_limit"), 100);
  set_spend_limit("/spend_limit", 500);
  done("PUT", project("/credit_limit"), R"({"amount":"3000000000"})");
  ASSERT_EQ(create().status, 200);
  const json::value quotas = done("GET", project("/quotas"));
  const std::int64_t day = quotas.at("day_ends_at").as_int64(), month = quotas.at("month_ends_at").as_int64();
  std::map<std::string, json::value> limits;
  for (const json::value& limit : quotas.at("limits").as_array()) {
    limits[text(limit.at("name"))] = limit;
    EXPECT_THAT(text(limit.at("frees")), testing::StartsWith("It frees "));
  }
  const auto expect = [&](const std::string& name, const json::value& limit, const json::value& used, const json::value& frees_at) {
    EXPECT_EQ(limits[name].at("limit"), limit) << name;
    EXPECT_EQ(limits[name].at("used"), used) << name;
    EXPECT_EQ(limits[name].at("frees_at"), frees_at) << name;
  };
  expect("queued_jobs", 9, 1, nullptr);
  expect("running_jobs", 2, 0, nullptr);
  expect("storage_bytes", 5000000, quotas.at("used").at("storage_bytes"), nullptr);
  expect("upload_bytes_per_day", 4000000, quotas.at("used").at("upload_bytes_per_day"), day);
  expect("tokens_per_month", 70000, 6400, month);
  expect("spend_limit", "1000000000", "6400000", month);
  expect("organization_spend_limit", "5000000000", "6400000", month);
  expect("credit_limit", "3000000000", "0", nullptr);
  for (const char* name : {"requests_per_minute", "tokens_per_minute"}) {
    EXPECT_GT(limits[name].at("limit").as_int64(), 0) << name;
    EXPECT_GE(limits[name].at("used").as_int64(), 0) << name;
  }
  EXPECT_EQ(limits.size(), 10u);
}

TEST_F(QuotasTest, ASpendLimitOfTheProjectIsEnforced) {
  set_spend_limit(project("/spend_limit"), 1);
  EXPECT_EQ(successes(4, [&] { return create(); }), 1);
  const Answer refused = create();
  expect_exceeded(refused, "spend_limit");
  EXPECT_THAT(refused.message(), AllOf(HasSubstr("of the project is $0.01 a month"), HasSubstr("$0.0064 are spent or held")));
  EXPECT_EQ(done("GET", project("/spend_limit")).at("enforcement").at("status"), "inactive") << "smaller jobs pass";
  set_spend_limit(project("/spend_limit"), 2);
  EXPECT_EQ(create().status, 200);
  EXPECT_EQ(create().status, 200);
  set_spend_limit(project("/spend_limit"), 1);
  EXPECT_EQ(done("GET", project("/spend_limit")).at("enforcement").at("status"), "enforcing");
}

TEST_F(QuotasTest, ASpendLimitOfTheOrganizationCountsAllItsProjects) {
  const std::string second = text(done("POST", "/projects", R"({"name":"second"})").at("id"));
  storage::Project other = tenant_.project;
  other.id = second;
  give_credit(pool(), other, 1'000'000'000);
  const auto file = make_counted_file(pool(), other, base_, std::vector<std::uint32_t>(128, 50));
  const std::string key = pool().transact(
      Scope::system(), [&](Transaction& tx) { return storage::KeyStore(tx).create_project_key(second, "test").secret; });
  set_spend_limit("/spend_limit", 1);
  ASSERT_EQ(create().status, 200);
  const Answer refused = send_as(key, "POST", "/v1/fine_tuning/jobs", body(file.id));
  expect_exceeded(refused, "of the organization is $0.01 a month");
  const Tenant stranger = make_tenant();
  give_credit(pool(), stranger.project, 1'000'000'000);
  const auto theirs = make_counted_file(pool(), stranger.project, base_, std::vector<std::uint32_t>(128, 50));
  EXPECT_EQ(send_as(stranger.key, "POST", "/v1/fine_tuning/jobs", body(theirs.id)).status, 200);
}

TEST_F(QuotasTest, ATransactionSeesItsProjectAloneAgainAfterTheOrganizationsLimit) {
  set_spend_limit("/spend_limit", 1000);
  const Tenant stranger = make_tenant();
  const auto job = new_job(tenant_.project, base_, file_);
  const auto seen = pool().transact(Scope::project(tenant_.project.id), [&](Transaction& tx) {
    billing::create_job(tx, job);
    return tx.execute("SELECT count(*) AS n FROM project").row(0).integer("n");
  });
  EXPECT_EQ(seen, 1);
}

}  // namespace
}  // namespace finetuned::tests
