#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdlib>
#include <future>
#include <thread>

#include "storage/objects/open_store.h"
#include "storage/removal_store.h"
#include "tests/integration/gateway/hanging_store.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/gateway/soon.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using Steady = std::chrono::steady_clock;

constexpr milliseconds kDeadline{1000};
constexpr milliseconds kSoon{1000};        // what needs no object is answered within this
constexpr milliseconds kInTime{2000};      // the deadline, on a machine that does other things as well

/// A gateway whose store hangs when it is told to. Each of its pools has two threads.
class HungStoreTest : public GatewayTest {
 protected:
  static void SetUpTestSuite() {}
  static void TearDownTestSuite() {}
  HungStoreTest() {
    gateway_ = new RunningGateway(
        [](base::Settings& settings) {
          settings.gateway.blocking_threads = 2;
          settings.gateway.storage_threads = 2;
          settings.gateway.storage_timeout_seconds = 1;
          settings.database.pool_size = 1;  // less than threads
        },
        [gate = gate_](const base::Settings& settings) {
          return std::make_unique<HangingStore>(objects::open_store(settings), gate);
        });
  }
  ~HungStoreTest() override {
    gate_->release();
    delete gateway_;
    gateway_ = nullptr;
  }

  struct Timed {
    Answer answer;
    Steady::duration took;
  };
  template <class Ask>
  static Timed timed(Ask ask) {
    const auto begin = Steady::now();
    Answer answer = ask();
    return {std::move(answer), Steady::now() - begin};
  }
  Answer try_upload(std::vector<std::string> headers = {}, std::size_t bytes = 1000) {
    Call request;
    request.method = "POST";
    request.path = "/v1/files";
    request.key = tenant_.key;
    request.content_type = kMultipart;
    request.headers = std::move(headers);
    request.body = multipart({field_part("purpose", "fine-tune"), file_part("a.jsonl", std::string(bytes, 'x'))});
    return call(gateway_->port(), request);
  }
  /// So many uploads that hang; the answers come when they are given up.
  std::vector<std::future<Timed>> hang_uploads(int count) {
    std::vector<std::future<Timed>> uploads;
    for (int i = 0; i < count; ++i)
      uploads.push_back(std::async(std::launch::async, [this] { return timed([this] { return try_upload(); }); }));
    return uploads;
  }
  void expect_unavailable(const Timed& one) {
    EXPECT_EQ(one.answer.status, 503) << one.answer.body;
    EXPECT_EQ(one.answer.code(), "storage_unavailable");
    EXPECT_EQ(one.answer.header("retry-after"), "5");
    EXPECT_LE(one.took, kInTime);
  }
  std::size_t files() { return get("/v1/files").json().at("data").as_array().size(); }
  double metric(const std::string& series) {
    const std::string text = "\n" + get_open("/metrics").body;
    const auto at = text.find("\n" + series + " ");
    return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + series.size() + 2, nullptr);
  }
  Answer get_open(const std::string& path) { return send_as("", "GET", path); }
  bool recovers() {
    return soon([this] { return metric("finetuned_object_calls_abandoned") == 0 && get_open("/readyz").status == 200; });
  }

  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
};

TEST_F(HungStoreTest, WhatNeedsNoObjectIsAnsweredAsEver) {
  const auto base = make_base_model(pool(), 100);
  const auto file = make_counted_file(pool(), tenant_.project, base, std::vector<std::uint32_t>(128, 50));
  give_credit(pool(), tenant_.project, 1'000'000'000'000);
  const std::string body = R"({"model":")" + base.name + R"(","training_file":")" + file.id + "\"}";
  const std::string kept = upload("kept");
  const std::size_t objects = gateway_->stored_objects();
  gate_->hang();
  auto uploads = hang_uploads(4);
  auto download = std::async(std::launch::async, [&] { return timed([&] { return get("/v1/files/" + kept + "/content"); }); });
  const auto until = Steady::now() + kDeadline * 2;
  int made = 0;
  while (Steady::now() < until) {
    const auto within = [&](const char* what, auto ask) {
      const Timed one = timed(ask);
      EXPECT_EQ(one.answer.status, 200) << what << ": " << one.answer.body;
      EXPECT_LE(one.took, kSoon) << what;
    };
    within("healthz", [&] { return get_open("/healthz"); });
    within("files", [&] { return get("/v1/files"); });
    within("a file", [&] { return get("/v1/files/" + kept); });
    within("jobs", [&] { return get("/v1/fine_tuning/jobs"); });
    within("a quote", [&] { return send("POST", "/v1/fine_tuning/jobs/quote", body); });
    within("a job", [&] { return send("POST", "/v1/fine_tuning/jobs", body); });
    ++made;
  }
  for (auto& one : uploads) expect_unavailable(one.get());
  expect_unavailable(download.get());
  EXPECT_EQ(metric("finetuned_object_calls_abandoned"), 2) << "of two threads";
  EXPECT_EQ(metric("finetuned_object_threads_busy"), 2);
  const Timed ready = timed([&] { return get_open("/readyz"); });
  EXPECT_EQ(ready.answer.status, 503);
  EXPECT_EQ(ready.answer.json().at("checks").at("storage"), "unavailable");
  EXPECT_EQ(ready.answer.json().at("checks").at("postgresql"), "ok");
  EXPECT_LE(ready.took, kSoon);
  const Timed refused = timed([this] { return try_upload(); });
  expect_unavailable(refused);
  EXPECT_LE(refused.took, kDeadline / 2) << "no thread is left, so there is nothing to wait for";

  gate_->release();
  ASSERT_TRUE(recovers());
  EXPECT_EQ(gateway_->stored_objects(), objects) << "the uploads that were given up leave nothing";
  EXPECT_EQ(files(), 2u) << "the counted one, and the one kept";
  EXPECT_EQ(get("/v1/fine_tuning/jobs").json().at("data").as_array().size(), static_cast<std::size_t>(std::min(made, 20)));
  EXPECT_EQ(get("/v1/files/" + kept + "/content").body, "kept");
  EXPECT_EQ(try_upload().status, 200);
}

TEST_F(HungStoreTest, EachThreadHasAConnectionToTheDatabase) {
  const std::string file = upload("abc");
  std::future<Answer> removed;
  pool().transact(postgres::Scope::system(), [&](postgres::Transaction& tx) {
    tx.execute("SELECT FROM file WHERE id = $1 FOR UPDATE", {file});
    removed = std::async(std::launch::async, [&] { return send("DELETE", "/v1/files/" + file); });
    std::this_thread::sleep_for(milliseconds(300));  // it waits for the row, on a connection
    const Timed other = timed([&] { return get("/v1/files"); });
    EXPECT_EQ(other.answer.status, 200);
    EXPECT_LE(other.took, kSoon);
  });
  EXPECT_EQ(removed.get().status, 200);
}

TEST_F(HungStoreTest, ACommitThatComesLateLeavesNoFileAndIsMadeOnceWhenItIsAskedForAgain) {
  gate_->hang({"commit"});
  const std::vector<std::string> key{"Idempotency-Key: once"};
  expect_unavailable(timed([&] { return try_upload(key); }));
  EXPECT_EQ(files(), 0u);
  EXPECT_EQ(gateway_->stored_objects(), 1u) << "the object is there before anybody knows";
  gate_->release();
  ASSERT_TRUE(recovers());
  EXPECT_EQ(gateway_->stored_objects(), 0u);
  EXPECT_EQ(files(), 0u) << "the client was told that nothing was kept";
  const Answer first = try_upload(key), second = try_upload(key);
  EXPECT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(second.body, first.body);
  EXPECT_EQ(files(), 1u);
  EXPECT_EQ(gateway_->stored_objects(), 1u);
}

TEST_F(HungStoreTest, AWriteInMidUploadIsGivenUpAndItsHalfIsRemoved) {
  gate_->hang({"write"});
  expect_unavailable(timed([&] { return try_upload({}, 900'000); }));
  EXPECT_EQ(gateway_->stored_objects(), 1u);
  gate_->release();
  ASSERT_TRUE(recovers());
  EXPECT_EQ(gateway_->stored_objects(), 0u);
  EXPECT_EQ(files(), 0u);
}

TEST_F(HungStoreTest, AConnectionServesOnBesideACallThatItGaveUp) {
  const std::string file = upload(std::string(1000, 'y'));
  gate_->hang({"open"});
  Call download;
  download.path = "/v1/files/" + file + "/content";
  download.key = tenant_.key;
  Wire wire(gateway_->port());
  wire.send(to_bytes(download));
  EXPECT_EQ(wire.read().value_or(Answer{}).status, 503);
  Call other;
  other.path = "/v1/files/" + file;
  other.key = tenant_.key;
  for (int i = 0; i < 3; ++i) {
    wire.send(to_bytes(other));
    EXPECT_EQ(wire.read().value_or(Answer{}).status, 200);
  }
  gate_->release();
  ASSERT_TRUE(recovers());
  wire.send(to_bytes(download));
  EXPECT_EQ(wire.read().value_or(Answer{}).body, std::string(1000, 'y'));
}

TEST_F(HungStoreTest, ADownloadIsCutInTheMiddle) {
  const std::string file = upload(std::string(1'000'000, 'y'));
  Call download;
  download.path = "/v1/files/" + file + "/content";
  download.key = tenant_.key;
  gate_->hang({"read"});
  Wire wire(gateway_->port());
  wire.send(to_bytes(download));
  EXPECT_NE(wire.read_until("\r\n\r\n"), "") << "the head goes out: the object was opened";
  const auto begin = Steady::now();
  EXPECT_TRUE(wire.closes_within(kInTime));
  EXPECT_GE(Steady::now() - begin, milliseconds(500));
  gate_->release();
  ASSERT_TRUE(recovers());
  EXPECT_EQ(get("/v1/files/" + file + "/content").body.size(), 1'000'000u);
}

TEST_F(HungStoreTest, ACloseThatHangsHoldsNoSocketsThread) {
  const std::string file = upload(std::string(1'000'000, 'y'));
  const auto ask = [&](const std::string& method, std::vector<std::string> headers = {}) {
    Call request;
    request.method = method;
    request.path = "/v1/files/" + file + "/content";
    request.key = tenant_.key;
    request.headers = std::move(headers);
    return to_bytes(request);
  };
  gate_->hang({"close"});
  Wire whole(gateway_->port()), head(gateway_->port());  // as many as threads of either kind
  whole.send(ask("GET"));
  EXPECT_EQ(whole.read().value_or(Answer{}).body.size(), 1'000'000u);
  head.send(ask("HEAD"));
  EXPECT_NE(head.read_until("\r\n\r\n"), "");
  EXPECT_TRUE(soon([this] { return metric("finetuned_object_calls_abandoned") == 2; })) << "given up like any other call";
  const Timed alive = timed([&] { return get("/v1/files/" + file); });
  EXPECT_EQ(alive.answer.status, 200);
  EXPECT_LE(alive.took, kSoon);
  gate_->release();
  ASSERT_TRUE(recovers());
  gate_->hang({"close"});
  Wire beyond(gateway_->port());
  beyond.send(ask("GET", {"Range: bytes=2000000-"}));
  EXPECT_EQ(beyond.read().value_or(Answer{}).status, 503) << "the file is closed before it is answered that it is shorter";
  gate_->release();
  ASSERT_TRUE(recovers());
}

TEST_F(HungStoreTest, AFileIsDeletedWithoutItsObject) {
  const std::string file = upload("abc");
  gate_->hang();
  auto uploads = hang_uploads(2);
  for (auto& one : uploads) expect_unavailable(one.get());
  const Timed removed = timed([&] { return send("DELETE", "/v1/files/" + file); });
  EXPECT_EQ(removed.answer.status, 200);
  EXPECT_LE(removed.took, kSoon);
  EXPECT_EQ(gateway_->stored_objects(), 1u);
  pool().transact(postgres::Scope::system(), [&](postgres::Transaction& tx) {
    const auto object = tx.execute("SELECT object_id FROM file WHERE id = $1", {file}).row(0).text("object_id");
    EXPECT_TRUE(storage::RemovalStore(tx).keep(object)) << "intake is to remove it";
  });
}

TEST_F(HungStoreTest, WhatARepeatedUploadStoredIsRemovedBesideItsAnswer) {
  const std::vector<std::string> key{"Idempotency-Key: twice"};
  const Answer first = try_upload(key);
  gate_->hang({"remove"});
  const Timed second = timed([&] { return try_upload(key); });
  EXPECT_EQ(second.answer.status, 200);
  EXPECT_EQ(second.answer.body, first.body);
  EXPECT_LE(second.took, kSoon);
  EXPECT_EQ(gateway_->stored_objects(), 2u);
  Call quotas;
  quotas.method = "PUT";
  quotas.path = "/v1/organization/projects/" + tenant_.project.id + "/quotas";
  quotas.key = tenant_.admin_key;
  quotas.body = R"({"storage_bytes":1500})";
  ASSERT_EQ(call(gateway_->port(), quotas).status, 200);
  const Timed refused = timed([&] { return try_upload(); });
  EXPECT_EQ(refused.answer.code(), "quota_exceeded") << refused.answer.body;
  EXPECT_LE(refused.took, kInTime) << "both threads are at such removals by now";
  gate_->release();
  ASSERT_TRUE(recovers());
  EXPECT_TRUE(soon([this] { return gateway_->stored_objects() == 1; }));
}

TEST_F(HungStoreTest, AFileThatHasToBeReadMakesNoJobLate) {
  const auto base = make_base_model(pool(), 100);
  std::string rows;
  for (int i = 0; i < 20; ++i) rows += "{\"messages\":[]}\n";
  const std::string body = R"({"model":")" + base.name + R"(","training_file":")" + upload(rows) + "\"}";
  const auto jobs = [this] { return get("/v1/fine_tuning/jobs").json().at("data").as_array().size(); };
  gate_->hang({"read"});
  auto quote = std::async(std::launch::async, [&] { return timed([&] { return send("POST", "/v1/fine_tuning/jobs/quote", body); }); });
  expect_unavailable(timed([&] { return send("POST", "/v1/fine_tuning/jobs", body); }));
  expect_unavailable(quote.get());
  gate_->release();
  ASSERT_TRUE(recovers());
  EXPECT_EQ(jobs(), 0u) << "the client was told that it was not made";
  EXPECT_EQ(send("POST", "/v1/fine_tuning/jobs/quote", body).status, 200);
  EXPECT_EQ(send("POST", "/v1/fine_tuning/jobs", body).status, 200);
  EXPECT_EQ(jobs(), 1u);
}

TEST_F(HungStoreTest, AnUploadInPartsIsCompletedAfterwards) {
  const auto created = send("POST", "/v1/uploads", R"({"filename":"a.jsonl","purpose":"fine-tune","bytes":3,"mime_type":"text/jsonl"})");
  const std::string upload = "/v1/uploads/" + text(created.json().at("id"));
  const auto send_part = [&] {
    Call request;
    request.method = "POST";
    request.path = upload + "/parts";
    request.key = tenant_.key;
    request.body = multipart({"Content-Disposition: form-data; name=\"data\"; filename=\"blob\"\r\n\r\nabc"});
    request.content_type = kMultipart;
    return call(gateway_->port(), request);
  };
  gate_->hang({"create"});
  expect_unavailable(timed(send_part));
  gate_->release();
  ASSERT_TRUE(recovers());
  const Answer part = send_part();
  ASSERT_EQ(part.status, 200) << part.body;
  const std::string body = R"({"part_ids":[")" + text(part.json().at("id")) + "\"]}";
  gate_->hang({"read"});
  expect_unavailable(timed([&] { return send("POST", upload + "/complete", body); }));
  EXPECT_EQ(send("POST", upload + "/complete", body).status, 409) << "the call that was given up has its lease";
  gate_->release();
  ASSERT_TRUE(recovers());
  const Answer completed = send("POST", upload + "/complete", body);
  EXPECT_EQ(completed.status, 200) << completed.body;
  EXPECT_EQ(files(), 1u);
  EXPECT_EQ(get("/v1/files/" + text(completed.json().at("file").at("id")) + "/content").body, "abc");
}

TEST_F(HungStoreTest, ReadinessAsksOneThreadAtMost) {
  gate_->hang({"look"});
  auto first = std::async(std::launch::async, [this] { return timed([this] { return get_open("/readyz"); }); });
  std::this_thread::sleep_for(milliseconds(300));
  const Timed meanwhile = timed([this] { return get_open("/readyz"); });
  EXPECT_EQ(meanwhile.answer.status, 200) << "as the last look said";
  EXPECT_LE(meanwhile.took, kSoon);
  EXPECT_EQ(first.get().answer.status, 503);
  for (const auto until = Steady::now() + kDeadline; Steady::now() < until;) {
    const Timed ready = timed([&] { return get_open("/readyz"); });
    EXPECT_EQ(ready.answer.status, 503);
    EXPECT_LE(ready.took, kSoon);
  }
  EXPECT_EQ(metric("finetuned_object_threads_busy"), 1);
  EXPECT_EQ(try_upload().status, 200) << "the other thread";
  gate_->release();
  EXPECT_TRUE(recovers());
}

TEST_F(HungStoreTest, OneCallThatHangsIsNotTheStore) {
  const std::string file = upload("abc");
  gate_->hang({"open"});
  expect_unavailable(timed([&] { return get("/v1/files/" + file + "/content"); }));
  EXPECT_EQ(metric("finetuned_object_calls_abandoned"), 1);
  EXPECT_EQ(get_open("/readyz").status, 200);
  gate_->release();
  EXPECT_TRUE(recovers());
}

}  // namespace
}  // namespace finetuned::tests
