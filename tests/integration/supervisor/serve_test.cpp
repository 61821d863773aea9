#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "base/json.h"
#include "base/sha256.h"
#include "billing/admission.h"
#include "billing/ledger.h"
#include "services/inference/directory.h"
#include "storage/job_store.h"
#include "storage/model_store.h"
#include "storage/redis/client.h"
#include "tests/integration/inference/conversation.h"
#include "tests/integration/platform/eventually.h"
#include "tests/integration/platform/tiny_model.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"
#include "tests/integration/supervisor/program.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;
using storage::JobState;

constexpr const char* kQuickLeases =
    "[worker]\nlease_seconds = 3\nheartbeat_seconds = 1\n[scheduler]\nsweep_seconds = 1\n";
constexpr std::int64_t kCredit = 1'000'000'000;

class ServeTest : public testing::Test {
 protected:
  void SetUp() override {
    const Outcome migrated = site_.run({"migrate"});
    ASSERT_EQ(migrated.status, 0) << migrated.err;
    redis::Client(redis_address()).command({"FLUSHALL"});
  }

  void serve_until_ready() {
    const auto lines = [&] {
      const std::string text = site_.log();
      int count = 0;
      for (auto at = text.find(": ready"); at != std::string::npos; at = text.find(": ready", at + 1)) ++count;
      return count;
    };
    const int before = lines();
    site_.serve();
    ASSERT_TRUE(eventually([&] { return lines() >= before + 4; })) << site_.log();
  }

  /// A project with credit, an uploaded file that nobody has checked yet, and a job on it.
  storage::Job create_job(int epochs, int rows = 40) {
    project_ = make_project(site_.pool());
    give_credit(site_.pool(), project_, kCredit);
    const auto model = site_.data().import_tiny_model(site_.pool());
    const auto file = site_.data().upload(site_.pool(), project_, chat_dataset(rows));
    storage::NewJob job = new_job(project_, model, file);
    const json::object settings{{"n_epochs", epochs}, {"batch_size", 2}, {"learning_rate", 1e-3}};
    job.hyperparameters = settings;
    job.method = json::object{{"type", "supervised"}, {"supervised", json::object{{"hyperparameters", settings}}}};
    return site_.pool().transact(Scope::project(project_.id),
                                 [&](Transaction& tx) { return billing::create_job(tx, job); });
  }

  storage::Job job(const std::string& id) {
    return site_.pool().transact(Scope::system(), [&](Transaction& tx) { return *storage::JobStore(tx).find(id); });
  }

  bool reaches(const std::string& id, JobState state, double seconds = 60) {
    return eventually([&] { return job(id).state == state; }, seconds);
  }

  void expect_billed_once(const storage::Job& created) {
    const auto done = job(created.id);
    EXPECT_EQ(done.trained_tokens, done.quoted_tokens);
    const auto balance = site_.pool().transact(
        Scope::system(), [&](Transaction& tx) { return billing::Ledger(tx).balance(project_.id); });
    EXPECT_EQ(balance.spent.value, *done.quoted_tokens * 1'000);
    EXPECT_EQ(balance.held.value, 0);
    const Outcome verified = site_.run({"ledger", "verify"});
    EXPECT_EQ(verified.status, 0) << verified.out;
  }

  Site site_{kQuickLeases};
  storage::Project project_;
};

TEST_F(ServeTest, RunsAJobFromUploadToBillAndDrains) {
  serve_until_ready();
  const auto created = create_job(2);
  EXPECT_EQ(created.state, JobState::kValidatingFiles);
  ASSERT_TRUE(reaches(created.id, JobState::kSucceeded)) << site_.log();
  expect_billed_once(created);
  EXPECT_EQ(site_.stop(SIGTERM), 0) << site_.log();
}

TEST_F(ServeTest, RestartsAKilledRole) {
  serve_until_ready();
  for (const std::string role : {"intake", "scheduler", "worker", "metering", "webhooks", "gateway"}) {
    const pid_t first = site_.pid_of(role);
    ASSERT_GT(first, 0) << role;
    ::kill(first, SIGKILL);
    EXPECT_TRUE(eventually([&] { return site_.times_started(role) == 2; })) << role;
    EXPECT_NE(site_.pid_of(role), first);
  }
}

TEST_F(ServeTest, AKilledWorkersJobRunsAgainToTheEndAndIsBilledOnce) {
  serve_until_ready();
  const auto created = create_job(60);
  ASSERT_TRUE(eventually([&] { return job(created.id).step > 0; }, 60)) << site_.log();
  ::kill(site_.pid_of("worker"), SIGKILL);
  ASSERT_TRUE(reaches(created.id, JobState::kSucceeded, 120)) << site_.log();
  EXPECT_GE(job(created.id).lease_epoch, 2) << "another run went on; its attempts are forgotten where it saved a state";
  expect_billed_once(created);
}

TEST_F(ServeTest, AKilledPlatformLosesNoJob) {
  serve_until_ready();
  const auto created = create_job(60);
  ASSERT_TRUE(eventually([&] { return job(created.id).step > 0; }, 60)) << site_.log();
  site_.stop(SIGKILL);
  serve_until_ready();
  ASSERT_TRUE(reaches(created.id, JobState::kSucceeded, 360)) << site_.log();
  expect_billed_once(created);
  EXPECT_EQ(site_.stop(SIGTERM), 0);
}

TEST_F(ServeTest, ADrainHandsTheJobBack) {
  serve_until_ready();
  const auto created = create_job(400);
  ASSERT_TRUE(eventually([&] { return job(created.id).step > 0; }, 60)) << site_.log();
  EXPECT_EQ(site_.stop(SIGTERM), 0) << site_.log();
  EXPECT_EQ(job(created.id).state, JobState::kQueued);
  EXPECT_EQ(job(created.id).attempts, 0);
}

TEST_F(ServeTest, AFlushedRedisLosesNoJob) {
  serve_until_ready();
  redis::Client redis(redis_address());
  const auto created = create_job(20);
  for (int i = 0; i < 20; ++i) {
    redis.command({"FLUSHALL"});
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  ASSERT_TRUE(reaches(created.id, JobState::kSucceeded, 60)) << site_.log();
  EXPECT_EQ(job(created.id).attempts, 0);
  expect_billed_once(created);
}

TEST_F(ServeTest, AnAdapterAnswersInTheWorkerThatTrainedItBesideTheNextJob) {
  serve_until_ready();
  const auto created = create_job(3);
  ASSERT_TRUE(reaches(created.id, JobState::kSucceeded)) << site_.log();
  const auto model = site_.pool().transact(Scope::system(), [&](Transaction& tx) {
    return *storage::ModelStore(tx).find_fine_tuned(*job(created.id).fine_tuned_model);
  });
  const auto stored = [&](const char* name) {
    const std::string& object = model.objects.at(name);
    return inference::StoredFile{object, base::sha256_hex(objects::read_object(site_.data().store(), object, 1 << 24))};
  };
  const auto next = create_job(60, 200);
  ASSERT_TRUE(reaches(next.id, JobState::kRunning)) << site_.log();
  redis::Client redis(redis_address());
  inference::Directory directory(redis);
  std::vector<inference::Advertisement> services;
  ASSERT_TRUE(eventually([&] { return !(services = directory.find(model.base_model)).empty(); })) << site_.log();
  inference::InferenceRequest request;
  request.request_id = "req_1";
  request.base = model.base_model;
  request.adapter = inference::AdapterFiles{stored("adapter_model.safetensors"), stored("adapter_config.json")};
  request.input = inference::Chat{{json::object{{"role", "user"}, {"content", "how many apples are there?"}}}, {}};
  request.max_tokens = 20;
  inference::Conversation conversation(services.front().socket);
  conversation.send(request.serialise());
  const inference::Reply reply = conversation.rest();
  ASSERT_TRUE(reply.done) << (reply.failure ? reply.failure->message : "");
  EXPECT_EQ(reply.finishes.size(), 1u);
  EXPECT_EQ(job(next.id).state, JobState::kRunning);
  EXPECT_EQ(site_.stop(SIGTERM), 0) << site_.log();
  EXPECT_TRUE(directory.find(model.base_model).empty());
}

}  // namespace
}  // namespace finetuned::tests
