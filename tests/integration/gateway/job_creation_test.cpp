#include <gmock/gmock.h>

#include <algorithm>
#include <set>
#include <thread>

#include "base/ids.h"
#include "storage/intake_store.h"
#include "storage/job_store.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using testing::HasSubstr;

class JobCreationTest : public GatewayTest {
 protected:
  std::string body(const std::string& more = "") const {
    return R"({"model":")" + base_.name + R"(","training_file":")" + file_.id + "\"" + more + "}";
  }
  std::size_t jobs() { return get("/v1/fine_tuning/jobs").json().at("data").as_array().size(); }
  Answer create(const std::string& text, std::vector<std::string> headers = {}) {
    return send("POST", "/v1/fine_tuning/jobs", text, std::move(headers));
  }
  std::vector<Answer> create_at_once(const std::vector<std::pair<std::string, std::string>>& wanted);

  storage::BaseModel base_ = make_base_model(pool(), 100);
  storage::File file_ = make_counted_file(pool(), tenant_.project, base_, std::vector<std::uint32_t>(128, 50));
};

TEST_F(JobCreationTest, AJobHasOpenAisShape) {
  give_credit(pool(), tenant_.project, 1'000'000'000);
  const Answer answer = create(body(R"(,"suffix":"mine","seed":42,"metadata":{"team":"a"},
    "method":{"type":"supervised","supervised":{"hyperparameters":{"n_epochs":2,"lora_rank":4}}})"));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json::value job = answer.json();
  const std::string id(job.at("id").as_string());
  EXPECT_TRUE(base::is_id(id, "ftjob"));
  EXPECT_EQ(job.at("object"), "fine_tuning.job");
  EXPECT_EQ(text(job.at("model")), base_.name);
  EXPECT_EQ(job.at("status"), "queued");
  EXPECT_EQ(text(job.at("organization_id")), tenant_.project.organization_id);
  EXPECT_EQ(text(job.at("training_file")), file_.id);
  EXPECT_GT(job.at("created_at").as_int64(), 0);
  EXPECT_EQ(job.at("seed"), 42);
  EXPECT_EQ(job.at("user_provided_suffix"), "mine");
  EXPECT_EQ(job.at("metadata").at("team"), "a");
  EXPECT_EQ(job.at("result_files").as_array().size(), 0u);
  EXPECT_EQ(job.at("integrations").as_array().size(), 0u);
  for (const char* null : {"validation_file", "fine_tuned_model", "finished_at", "trained_tokens", "error", "estimated_finish"})
    EXPECT_TRUE(job.at(null).is_null()) << null;
  EXPECT_EQ(job.at("method").at("type"), "supervised");
  EXPECT_EQ(job.at("method").at("supervised").at("hyperparameters"), job.at("hyperparameters"));
  EXPECT_EQ(job.at("hyperparameters").at("n_epochs"), 2);
  EXPECT_EQ(job.at("hyperparameters").at("batch_size"), 2);  // 128 rows
  EXPECT_EQ(job.at("hyperparameters").at("lora_rank"), 4);
  json::value found = get("/v1/fine_tuning/jobs/" + id).json();
  found.as_object().erase("queue");  // queue_test.cpp
  EXPECT_EQ(found, job);
  // 2 epochs x 128 rows x 50 tokens at $0.001 per 1,000
  const json::value balance = get("/v1/billing/balances").json().at("data").at(0);
  EXPECT_EQ(balance.at("held"), "12800000");
}

TEST_F(JobCreationTest, AutoIsResolvedBeforeTheFileIsChecked) {
  std::string rows;
  for (int i = 0; i < 20; ++i) rows += "{\"messages\":[]}\n\n";
  const std::string file = upload(rows);
  const Answer answer = create(R"({"model":")" + base_.name + R"(","training_file":")" + file +
                               R"(","hyperparameters":{"n_epochs":"auto"}})");
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json::value job = answer.json();
  EXPECT_EQ(job.at("status"), "validating_files");
  EXPECT_EQ(job.at("hyperparameters").at("n_epochs"), 5);  // 100 / 20
  EXPECT_EQ(get("/v1/billing/balances").json().at("data").at(0).at("held"), "0");
}

TEST_F(JobCreationTest, WithoutMoneyNothingIsCreated) {
  const Answer answer = create(body());
  EXPECT_EQ(answer.status, 429);
  EXPECT_EQ(answer.code(), "insufficient_quota");
  EXPECT_EQ(answer.header("x-should-retry"), "false");
  EXPECT_EQ(jobs(), 0u);
}

TEST_F(JobCreationTest, UnknownThingsAreNotFound) {
  give_credit(pool(), tenant_.project, 1'000'000'000);
  const Answer model = create(R"({"model":"gpt-nothing","training_file":")" + file_.id + "\"}");
  EXPECT_EQ(model.status, 404);
  EXPECT_EQ(model.code(), "model_not_found");
  EXPECT_EQ(model.param(), "model");
  const Tenant other = make_tenant();
  const auto foreign = make_counted_file(pool(), other.project, base_, {50});
  for (const std::string& id : {foreign.id, std::string("file-nothing"), std::string("../etc/passwd")}) {
    const Answer answer = create(R"({"model":")" + base_.name + R"(","training_file":")" + id + "\"}");
    EXPECT_EQ(answer.status, 404) << id;
    EXPECT_EQ(answer.code(), "file_not_found");
    EXPECT_EQ(answer.param(), "training_file");
  }
  const Answer validation = create(body(R"(,"validation_file":"file-nothing")"));
  EXPECT_EQ(validation.status, 404);
  EXPECT_EQ(validation.param(), "validation_file");
  EXPECT_EQ(jobs(), 0u);
}

TEST_F(JobCreationTest, FilesMustFit) {
  give_credit(pool(), tenant_.project, 1'000'000'000);
  const std::string other = upload("x", "user_data");
  const Answer purpose = create(R"({"model":")" + base_.name + R"(","training_file":")" + other + "\"}");
  EXPECT_EQ(purpose.status, 400);
  EXPECT_EQ(purpose.code(), "invalid_file_purpose");

  const auto longest = make_counted_file(pool(), tenant_.project, base_, {50, 101});
  const std::string text = R"({"model":")" + base_.name + R"(","training_file":")" + longest.id + "\"";
  const Answer too_long = create(text + "}");
  EXPECT_EQ(too_long.status, 400);
  EXPECT_EQ(too_long.code(), "row_exceeds_context");
  EXPECT_THAT(too_long.message(), HasSubstr("max_seq_length"));
  EXPECT_EQ(create(text + R"(,"hyperparameters":{"max_seq_length":64}})").status, 200);
}

TEST_F(JobCreationTest, ARefusedFileNamesItsFirstFaults) {
  const std::string id = upload("nonsense\n");
  pool().transact(postgres::Scope::system(), [&](postgres::Transaction& tx) {
    tx.execute("UPDATE file SET intake_epoch = 1, intake_owner = 't', intake_until = clock_timestamp() + interval '1 min'"
               " WHERE id = $1", {id});
    json::object report{{"ok", false}, {"rows", 0}};
    report["faults"] = json::array{json::object{{"line", 1}, {"code", "invalid_json"}, {"message", "not valid JSON"}}};
    storage::IntakeStore(tx).finish({id, 1}, storage::FileStatus::kError, "line 1: not valid JSON", report);
  });
  const Answer answer = create(R"({"model":")" + base_.name + R"(","training_file":")" + id + "\"}");
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.code(), "invalid_training_file");
  EXPECT_EQ(answer.param(), "training_file");
  EXPECT_THAT(answer.message(), HasSubstr("Line 1: not valid JSON."));
  EXPECT_THAT(answer.message(), HasSubstr("/v1/files/" + id + "/report"));
}

TEST_F(JobCreationTest, BadBodiesAreRefused) {
  EXPECT_EQ(create("{").code(), "invalid_json");
  EXPECT_EQ(create(body(R"(,"method":{"type":"dpo"})")).code(), "unsupported_method");
  EXPECT_EQ(create(body(R"(,"hyperparameters":{"n_epochs":99})")).param(), "hyperparameters.n_epochs");
  EXPECT_EQ(create(std::string(70'000, ' ')).status, 413);
  EXPECT_EQ(jobs(), 0u);
}

TEST_F(JobCreationTest, ARetryFindsTheJobItMade) {
  give_credit(pool(), tenant_.project, 1'000'000'000);
  const Answer first = create(body(), {"x-stainless-retry-count: 0"});
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(create(body(), {"x-stainless-retry-count: 1"}).json().at("id"), first.json().at("id"));
  EXPECT_NE(create(body(R"(,"seed":1)"), {"x-stainless-retry-count: 1"}).json().at("id"), first.json().at("id"));
  EXPECT_NE(create(body(), {"x-stainless-retry-count: 0"}).json().at("id"), first.json().at("id"));
  EXPECT_EQ(jobs(), 3u);
}

TEST_F(JobCreationTest, AnIdempotencyKeyIsBoundToItsBody) {
  give_credit(pool(), tenant_.project, 1'000'000'000);
  const Answer first = create(body(), {"Idempotency-Key: abc"});
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(create(body(), {"Idempotency-Key: abc"}).json().at("id"), first.json().at("id"));
  const Answer other = create(body(R"(,"seed":1)"), {"Idempotency-Key: abc"});
  EXPECT_EQ(other.status, 422);
  EXPECT_EQ(other.code(), "idempotency_key_reused");
  EXPECT_EQ(jobs(), 1u);
}

/// Creates at once, while a transaction of another process holds the project's accounts, so that they wait for each other.
std::vector<Answer> JobCreationTest::create_at_once(const std::vector<std::pair<std::string, std::string>>& wanted) {
  std::vector<Answer> answers(wanted.size());
  std::vector<std::jthread> clients;
  pool().transact(postgres::Scope::system(), [&](postgres::Transaction& tx) {
    tx.execute("SELECT id FROM account WHERE project_id = $1 FOR UPDATE", {tenant_.project.id});
    for (std::size_t i = 0; i < wanted.size(); ++i)
      clients.emplace_back([&, i] { answers[i] = create(wanted[i].first, {wanted[i].second}); });
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  });
  clients.clear();
  return answers;
}

TEST_F(JobCreationTest, CreatedTogetherEachGetsItsOwnAnswer) {
  give_credit(pool(), tenant_.project, 1'000'000'000);
  ASSERT_EQ(create(body(), {"Idempotency-Key: abc"}).status, 200);
  const std::string none = "X-None: 1", same = "Idempotency-Key: same", other = body(R"(,"seed":7)");
  const auto answers = create_at_once({{body(), none}, {body(), none}, {other, same}, {other, "Idempotency-Key: abc"},
                                       {R"({"model":"no such model"})", none}, {other, same}, {body(), none}});
  std::set<std::string> made;
  for (const std::size_t i : {0, 1, 2, 5, 6}) {
    ASSERT_EQ(answers[i].status, 200) << answers[i].body;
    made.insert(text(answers[i].json().at("id")));
  }
  EXPECT_EQ(answers[2].json().at("id"), answers[5].json().at("id"));
  EXPECT_EQ(answers[2].json().at("seed"), 7);
  EXPECT_EQ(made.size(), 4u);
  EXPECT_EQ(answers[3].code(), "idempotency_key_reused");
  EXPECT_EQ(answers[4].status, 400);
  EXPECT_EQ(jobs(), 5u);
}

TEST_F(JobCreationTest, CreatedTogetherTheyShareWhatTheProjectHas) {
  const std::int64_t each = std::stoll(text(send("POST", "/v1/fine_tuning/jobs/quote", body()).json().at("amount")));
  ASSERT_GT(each, 0);
  give_credit(pool(), tenant_.project, 2 * each);
  const auto answers = create_at_once(std::vector<std::pair<std::string, std::string>>(5, {body(), "X-None: 1"}));
  EXPECT_EQ(std::count_if(answers.begin(), answers.end(), [](const Answer& one) { return one.status == 200; }), 2);
  EXPECT_EQ(std::count_if(answers.begin(), answers.end(), [](const Answer& one) { return one.code() == "insufficient_quota"; }), 3);
  EXPECT_EQ(jobs(), 2u);
  EXPECT_EQ(get("/v1/billing/balances").json().at("data").at(0).at("available"), "0");
}

TEST_F(JobCreationTest, AQuoteCreatesNothing) {
  give_credit(pool(), tenant_.project, 1'000'000);
  const json::value quote = send("POST", "/v1/fine_tuning/jobs/quote", body(R"(,"hyperparameters":{"n_epochs":3})")).json();
  EXPECT_EQ(quote.at("object"), "fine_tuning.job.quote");
  EXPECT_EQ(quote.at("ready"), true);
  EXPECT_EQ(quote.at("rows"), 128);
  EXPECT_EQ(quote.at("tokens"), 3 * 128 * 50);
  EXPECT_EQ(quote.at("amount"), "19200000");
  EXPECT_EQ(quote.at("allowed"), false);
  EXPECT_EQ(jobs(), 0u);
}

}  // namespace
}  // namespace finetuned::tests
