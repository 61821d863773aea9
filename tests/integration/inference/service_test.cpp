#include <sys/stat.h>

#include "base/errors.h"
#include "base/sha256.h"
#include "tests/integration/inference/service_fixture.h"

namespace finetuned::inference {
namespace {

class BoundsTest : public ServiceTest {
 protected:
  /// A conversation whose answer has begun.
  std::unique_ptr<Conversation> begin(const InferenceRequest& request) const {
    auto conversation = std::make_unique<Conversation>(service_->socket());
    conversation->send(request.serialise());
    const auto begun = conversation->next();
    EXPECT_TRUE(begun && std::holds_alternative<Begun>(*begun)) << "before all else";
    EXPECT_TRUE(conversation->next());
    return conversation;
  }
  std::optional<Advertisement> advertised() {
    Directory directory(redis_);
    const auto found = directory.find(base_.name);
    return found.empty() ? std::nullopt : std::optional(found.front());
  }
};

TEST_F(BoundsTest, BeyondTheQueueRequestsAreToldToComeAgainAndACancelFreesThePlace) {
  options_.batch = 1;
  options_.queue = 2;
  start();
  auto running = begin(long_request());
  std::vector<std::unique_ptr<Conversation>> waiting;
  for (int i = 0; i < 2; ++i) {
    waiting.push_back(std::make_unique<Conversation>(service_->socket()));
    waiting.back()->send(request("how many").serialise());
  }
  ASSERT_TRUE(tests::eventually([&] { const auto now = advertised(); return now && now->queue_length == 2; }));
  EXPECT_EQ(advertised()->free_places, 0);
  const auto failure = ask(request("x", 1)).failure;
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->status, 429);
  EXPECT_EQ(failure->code, "engine_overloaded");
  EXPECT_GT(failure->retry_after_ms.value_or(0), 0);
  running.reset();
  const std::string expected = alone(request("how many"));
  for (const auto& one : waiting) {
    const Reply reply = one->rest();
    ASSERT_TRUE(reply.done) << (reply.failure ? reply.failure->message : "");
    EXPECT_EQ(reply.texts.at(0), expected);
  }
}

TEST_F(BoundsTest, ARequestThatWaitsUntilItsDeadlineIsToldSo) {
  options_.batch = 1;
  start();
  const auto running = begin(long_request());
  InferenceRequest hasty = request("x", 1);
  hasty.deadline_ms = 100;
  const auto begun = std::chrono::steady_clock::now();
  const auto failure = ask(hasty).failure;
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 2s);
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->status, 429);
  EXPECT_EQ(failure->code, "engine_overloaded");
  EXPECT_TRUE(failure->retry_after_ms);
}

TEST_F(BoundsTest, AWaitingRequestOfAnotherModelIsNotOvertakenForEver) {
  const AdapterFiles files = make_adapter("a", 1);
  options_.batch = 1;
  options_.patience = 200ms;
  start();
  std::atomic<bool> done{false};
  std::vector<std::jthread> crowd;  // always somebody who waits for the base alone
  for (int i = 0; i < 4; ++i)
    crowd.emplace_back([&] {
      while (!done) EXPECT_TRUE(ask(request("how many apples", 40)).done);
    });
  InferenceRequest other = request("how many", 4);
  other.adapter = files;
  const auto begun = std::chrono::steady_clock::now();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(ask(other).done);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 20s);
  done = true;
}

TEST_F(BoundsTest, DamagedAndLostAdaptersAreClearErrorsAndOthersAnswerOn) {
  const AdapterFiles good = make_adapter("a", 1), other = make_adapter("b", 2);
  start();
  InferenceRequest asked = request("how many");
  const auto failure_with = [&](const AdapterFiles& files) {
    asked.adapter = files;
    return ask(asked).failure.value_or(Failure{});
  };
  AdapterFiles wrong = good;
  wrong.weights.sha256 = other.weights.sha256;  // the hash of other bytes
  Failure failure = failure_with(wrong);
  EXPECT_EQ(failure.status, 500);
  EXPECT_EQ(failure.code, "adapter_damaged");
  EXPECT_THAT(failure.message, testing::HasSubstr("adapter_model.safetensors"));
  const auto writer = data_.store().create(100);
  writer->write("not safetensors at all");
  const auto object = writer->commit();
  failure = failure_with({{object.id, object.sha256}, good.config});
  EXPECT_EQ(failure.code, "adapter_damaged");
  wrong = good;
  wrong.config.object = std::string(32, '0');
  wrong.config.sha256 = std::string(64, '0');
  EXPECT_EQ(failure_with(wrong).code, "adapter_unavailable");
  asked.adapter = good;
  EXPECT_EQ(ask(asked).texts.at(0), alone(asked, "a"));
}

TEST_F(BoundsTest, TwoBasesTakeTurnsInMemoryForOne) {
  constexpr int kWide = 512;  // so that a base takes more than the model's workspace
  const storage::BaseModel bases[] = {data_.import_tiny_model(tests::pool(), 1, 64, kWide), data_.import_tiny_model(tests::pool(), 2, 64, kWide)};
  const std::uint64_t bytes = model::AnyBase::planned_bytes({}, formats::read_model_config(bases[0].directory));
  options_.batch = 1;
  for (const bool room_for_both : {true, false}) {
    options_.memory_bytes = room_for_both ? 1u << 30 : 4 * bytes - 1;  // bases may take half of it
    start();
    std::string said;
    for (int round = 0; round < 2; ++round) {
      for (const storage::BaseModel& base : bases) {
        base_ = base;
        const InferenceRequest asked = request("how many apples");
        const Reply reply = ask(asked);
        ASSERT_TRUE(reply.done) << (reply.failure ? reply.failure->message : "");
        EXPECT_EQ(reply.texts.at(0), alone(asked)) << base.name;
        EXPECT_NE(reply.texts.at(0), said);
        said = reply.texts.at(0);
      }
    }
    EXPECT_EQ(service_->base_reads(), room_for_both ? 2 : 4);
    stop();
  }
}

TEST_F(BoundsTest, AServiceIsInTheDirectoryWhileItLives) {
  start();
  ASSERT_TRUE(tests::eventually([&] { return advertised().has_value(); }));
  EXPECT_EQ(advertised()->socket, service_->socket());
  EXPECT_EQ(advertised()->free_places, options_.batch);
  ASSERT_TRUE(ask(request("x", 1)).done);
  ASSERT_TRUE(tests::eventually([&] { return advertised()->bases == std::vector<std::string>{base_.name}; }));
  stop();
  EXPECT_FALSE(advertised());
  EXPECT_FALSE(fs::exists(options_.directory / ("inference-" + options_.name + ".sock")));
}

TEST_F(BoundsTest, ADrainEndsWhatRunsAndRefusesWhatComes) {
  start();
  InferenceRequest asked = request("how many apples", 1500);
  asked.temperature = 0;
  asked.n = kMostChoices;
  const auto running = begin(asked);
  Conversation late(service_->socket());
  thread_.request_stop();
  ASSERT_TRUE(tests::eventually([&] { return !advertised(); }));
  late.send(request("x", 1).serialise());
  const auto refused = late.rest().failure;
  ASSERT_TRUE(refused);
  EXPECT_EQ(refused->status, 503);
  EXPECT_TRUE(running->rest().done);
}

TEST_F(BoundsTest, ADrainBreaksOffWhatTakesTooLong) {
  options_.batch = 200;
  options_.drain = 200ms;
  start();
  const auto running = begin(long_request()), deaf = begin(long_request());
  Reply reply;
  std::jthread reader([&] { reply = running->rest(); });
  const auto begun = std::chrono::steady_clock::now();
  thread_ = {};
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 5s);
  reader.join();
  ASSERT_TRUE(reply.failure);
  EXPECT_EQ(reply.failure->status, 503);
  EXPECT_EQ(reply.failure->code, "engine_draining");
}

TEST_F(BoundsTest, TheSocketIsItsOwnersAloneAndDeadOnesAreRemoved) {
  start();
  struct stat found {};
  ASSERT_EQ(::stat(service_->socket().c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat(options_.directory.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777, 0700u);
  const fs::path live = service_->socket(), dead = options_.directory / "inference-host:1.sock",
                 foreign = options_.directory / "inference-elsewhere:1.sock";
  for (const fs::path& path : {dead, foreign}) {  // bound, and closed without a word
    const base::FileDescriptor left(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(left.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  }
  fs::create_directories(options_.directory / "adapters-host:1");
  options_.name = "host:2";
  const InferenceService beside(tests::pool(), data_.store(), redis_, options_);
  EXPECT_TRUE(fs::exists(live));
  EXPECT_TRUE(fs::exists(foreign));
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_FALSE(fs::exists(options_.directory / "adapters-host:1"));
}

TEST_F(BoundsTest, ADataDirectoryWhoseSocketPathIsTooLongIsRefusedByName) {
  options_.directory = data_.path() / std::string(100, 'x');
  try {
    start();
    FAIL();
  } catch (const base::ConfigError& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("at most 107"));
  }
}

TEST_F(BoundsTest, ABaseThatIsLargerThanTheMemoryIsRefused) {
  options_.memory_bytes = 1 << 16;
  start();
  const auto failure = ask(request("x", 1)).failure;
  ASSERT_TRUE(failure);
  EXPECT_EQ(failure->status, 503);
  EXPECT_EQ(failure->code, "model_too_large");
}

}  // namespace
}  // namespace finetuned::inference
