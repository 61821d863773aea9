#include <atomic>
#include <boost/json/serialize.hpp>
#include <set>

#include "base/ids.h"
#include "base/md5.h"
#include "base/sha256.h"
#include "storage/objects/local_store.h"
#include "storage/upload_store.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;

class UploadsTest : public GatewayTest {
 protected:
  Answer create(std::int64_t bytes, const std::string& purpose = "fine-tune") {
    json::object body{{"filename", "train.jsonl"}, {"purpose", purpose}, {"bytes", bytes}, {"mime_type", "text/jsonl"}};
    return send("POST", "/v1/uploads", json::serialize(body));
  }
  std::string created(std::int64_t bytes) {
    const Answer answer = create(bytes);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return text(answer.json().at("id"));
  }
  Answer send_part(const std::string& upload, const std::string& form, const std::string& key) {
    Call request;
    request.method = "POST";
    request.path = "/v1/uploads/" + upload + "/parts";
    request.key = key;
    request.body = form;
    request.content_type = kMultipart;
    return call(gateway_->port(), request);
  }
  /// As the official clients do: a part named `data`, with a filename.
  static std::string form_of(const std::string& content) {
    return multipart({"Content-Disposition: form-data; name=\"data\"; filename=\"blob\"\r\nContent-Type: "
                      "application/octet-stream\r\n\r\n" + content});
  }
  std::string part(const std::string& upload, const std::string& content) {
    const Answer answer = send_part(upload, form_of(content), tenant_.key);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return text(answer.json().at("id"));
  }
  Answer complete(const std::string& upload, const std::vector<std::string>& parts, const std::string& md5 = "") {
    json::object body{{"part_ids", json::array(parts.begin(), parts.end())}};
    if (!md5.empty()) body["md5"] = md5;
    return send("POST", "/v1/uploads/" + upload + "/complete", json::serialize(body));
  }
  Answer cancel(const std::string& upload) { return send("POST", "/v1/uploads/" + upload + "/cancel"); }
  static std::string md5_of(const std::string& content) {
    base::Md5 hash;
    hash.update(content);
    return hash.hex();
  }
  std::size_t files() { return get("/v1/files").json().at("data").as_array().size(); }
  static postgres::Result system_sql(const std::string& sql, const std::vector<postgres::Value>& values = {}) {
    return pool().transact(postgres::Scope::system(), [&](postgres::Transaction& tx) { return tx.execute(sql, values); });
  }
  /// The project's objects that intake's sweep would remove now.
  std::int64_t due_removals() {
    return system_sql("SELECT count(*) AS n FROM object_removal WHERE project_id = $1 AND due_at <= clock_timestamp()",
                      {tenant_.project.id})
        .row(0)
        .integer("n");
  }
};

TEST_F(UploadsTest, PartsInTheGivenOrderBecomeAFile) {
  const std::string first = "{\"a\":1}\n", second = base::random_bytes(300'000), whole = first + second;
  const Answer answer = create(static_cast<std::int64_t>(whole.size()));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const json::value pending = answer.json();
  EXPECT_EQ(pending.as_object().size(), 9u);
  EXPECT_EQ(pending.at("object"), "upload");
  EXPECT_EQ(pending.at("status"), "pending");
  EXPECT_EQ(pending.at("filename"), "train.jsonl");
  EXPECT_EQ(pending.at("purpose"), "fine-tune");
  EXPECT_EQ(pending.at("bytes"), static_cast<std::int64_t>(whole.size()));
  EXPECT_EQ(pending.at("expires_at").as_int64() - pending.at("created_at").as_int64(), 3600);
  EXPECT_TRUE(pending.at("file").is_null());
  const std::string id = text(pending.at("id"));
  EXPECT_TRUE(id.starts_with("upload-"));

  const std::string later = part(id, second);  // sent first
  const Answer sent = send_part(id, form_of(first), tenant_.key);
  const json::value shape = sent.json();
  EXPECT_EQ(shape.as_object().size(), 4u);
  EXPECT_EQ(shape.at("object"), "upload.part");
  EXPECT_EQ(text(shape.at("upload_id")), id);
  EXPECT_GT(shape.at("created_at").as_int64(), 1'600'000'000);
  EXPECT_EQ(files(), 0u);

  const Answer done = complete(id, {text(shape.at("id")), later}, md5_of(whole));
  ASSERT_EQ(done.status, 200) << done.body;
  const json::value completed = done.json();
  EXPECT_EQ(completed.at("status"), "completed");
  const json::value& file = completed.at("file");
  EXPECT_EQ(file.at("object"), "file");
  EXPECT_EQ(file.at("bytes"), static_cast<std::int64_t>(whole.size()));
  EXPECT_EQ(file.at("filename"), "train.jsonl");
  EXPECT_EQ(file.at("status"), "uploaded");
  EXPECT_FALSE(file.as_object().contains("expires_at"));
  const std::string file_id = text(file.at("id"));
  EXPECT_EQ(get("/v1/files/" + file_id).json(), file);
  const Answer content = get("/v1/files/" + file_id + "/content");
  EXPECT_EQ(content.body, whole);
  EXPECT_EQ(content.header("etag"), "\"" + base::sha256_hex(whole) + "\"");
  const auto outbox = system_sql("SELECT stream FROM outbox WHERE payload = $1", {file_id});
  ASSERT_EQ(outbox.size(), 1u) << "intake is woken";
  EXPECT_EQ(outbox.row(0).text("stream"), "finetuned:files");
  EXPECT_EQ(due_removals(), 2) << "both parts go";
}

TEST_F(UploadsTest, TheFileExpiresAsTheUploadSaid) {
  json::object body{{"filename", "a"}, {"purpose", "user_data"}, {"bytes", 1}, {"mime_type", "text/plain"},
                    {"expires_after", {{"anchor", "created_at"}, {"seconds", 7200}}}};
  const Answer made = send("POST", "/v1/uploads", json::serialize(body));
  ASSERT_EQ(made.status, 200) << made.body;
  const std::string id = text(made.json().at("id"));
  const Answer done = complete(id, {part(id, "x")});
  ASSERT_EQ(done.status, 200) << done.body;
  const json::value upload = done.json();
  const json::value& file = upload.at("file");
  EXPECT_EQ(file.at("expires_at").as_int64() - file.at("created_at").as_int64(), 7200);
  EXPECT_EQ(file.at("status"), "processed");
}

TEST_F(UploadsTest, PartsSentInParallelAllCount) {
  constexpr int kParts = 12;
  std::vector<std::string> contents, ids(kParts);
  std::string whole;
  for (int i = 0; i < kParts; ++i) whole += contents.emplace_back(base::random_bytes(50'000));
  const std::string upload = created(static_cast<std::int64_t>(whole.size()));
  {
    std::vector<std::jthread> clients;
    for (int i = 0; i < kParts; ++i)
      clients.emplace_back([&, i] { ids[static_cast<std::size_t>(i)] = part(upload, contents[static_cast<std::size_t>(i)]); });
  }
  const Answer done = complete(upload, ids, md5_of(whole));
  ASSERT_EQ(done.status, 200) << done.body;
  EXPECT_EQ(get("/v1/files/" + text(done.json().at("file").at("id")) + "/content").body, whole);
}

TEST_F(UploadsTest, AMismatchSaysBothSidesAndCanBePutRight) {
  const std::string upload = created(6);
  const std::string a = part(upload, "abc"), b = part(upload, "def");
  const Answer short_of = complete(upload, {a});
  EXPECT_EQ(short_of.status, 400);
  EXPECT_EQ(short_of.code(), "upload_size_mismatch");
  EXPECT_NE(short_of.message().find("3 bytes"), std::string::npos) << short_of.body;
  EXPECT_NE(short_of.message().find("for 6"), std::string::npos) << short_of.body;
  const Answer wrong_order = complete(upload, {b, a}, md5_of("abcdef"));
  EXPECT_EQ(wrong_order.status, 400);
  EXPECT_EQ(wrong_order.code(), "upload_md5_mismatch");
  EXPECT_EQ(wrong_order.param(), "md5");
  EXPECT_NE(wrong_order.message().find(md5_of("defabc")), std::string::npos) << wrong_order.body;
  EXPECT_NE(wrong_order.message().find(md5_of("abcdef")), std::string::npos) << wrong_order.body;
  EXPECT_EQ(files(), 0u);
  EXPECT_EQ(complete(upload, {a, b}, md5_of("abcdef")).status, 200) << "at once: the lease was given back";
  EXPECT_EQ(files(), 1u);
}

TEST_F(UploadsTest, PartsThatAreNotTheUploadsAreRefused) {
  const std::string upload = created(3), other = created(3);
  const std::string own = part(upload, "abc"), foreign = part(other, "xyz");
  for (const std::string& id : {foreign, std::string("part-none")}) {
    const Answer answer = complete(upload, {id});
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_EQ(answer.code(), "upload_part_not_found");
    EXPECT_EQ(answer.param(), "part_ids");
    EXPECT_NE(answer.message().find(id), std::string::npos);
  }
  EXPECT_EQ(complete(upload, {own, own}).status, 400);
  EXPECT_EQ(complete(upload, {own}).status, 200);
}

TEST_F(UploadsTest, BadBodiesAreRefused) {
  const std::string upload = created(3), path = "/v1/uploads/" + upload;
  EXPECT_EQ(send("POST", "/v1/uploads", "{").code(), "invalid_json");
  EXPECT_EQ(create(0).param(), "bytes");
  EXPECT_EQ(send("POST", path + "/complete").code(), "invalid_json");
  EXPECT_EQ(send("POST", path + "/complete", "[]").code(), "invalid_json");
  EXPECT_EQ(send("POST", path + "/complete", "{}").param(), "part_ids");
  EXPECT_EQ(send("POST", path + "/complete", std::string(65 * 1024, ' ')).status, 413);
  EXPECT_EQ(send("POST", path + "/parts", "{}").status, 415);
  const std::size_t before = gateway_->stored_objects();
  const std::vector<std::pair<std::string, std::string>> forms{
      {multipart({}), "missing_required_parameter"},
      {multipart({field_part("colour", "red")}), "missing_required_parameter"},
      {multipart({field_part("data", "")}), "empty_part"},
      {multipart({field_part("data", "a"), field_part("data", "b")}), "invalid_multipart"},
      {"--cut\r\n" + field_part("data", "abc"), "invalid_multipart"},
  };
  for (const auto& [form, code] : forms) {
    const Answer answer = send_part(upload, form, tenant_.key);
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_EQ(answer.code(), code) << form;
  }
  EXPECT_EQ(gateway_->stored_objects(), before);
  EXPECT_EQ(send("GET", path).status, 404);
}

TEST_F(UploadsTest, APartBeyond64MegabytesIsRefusedAndLeavesNothing) {
  const std::string upload = created(storage::kMostUploadBytes);
  const std::size_t before = gateway_->stored_objects();
  std::string content(storage::kMostPartBytes + 1, 'x');
  const Answer larger = send_part(upload, form_of(content), tenant_.key);
  EXPECT_EQ(larger.status, 413);
  EXPECT_EQ(larger.code(), "part_too_large");
  EXPECT_EQ(larger.param(), "data");
  EXPECT_EQ(gateway_->stored_objects(), before);
  content.pop_back();
  EXPECT_EQ(send_part(upload, form_of(content), tenant_.key).status, 200) << "exactly 64 MB";
}

TEST_F(UploadsTest, ACancelledUploadTakesNothingMore) {
  const std::string upload = created(3);
  const std::string id = part(upload, "abc");
  const Answer first = cancel(upload);
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(first.json().at("status"), "cancelled");
  EXPECT_TRUE(first.json().at("file").is_null());
  EXPECT_EQ(due_removals(), 1);
  EXPECT_EQ(cancel(upload).json(), first.json()) << "the same answer to a repetition";
  for (const Answer& answer : {send_part(upload, form_of("abc"), tenant_.key), complete(upload, {id})}) {
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.code(), "upload_not_pending");
    EXPECT_NE(answer.message().find("cancelled"), std::string::npos);
  }
  EXPECT_EQ(files(), 0u);
}

TEST_F(UploadsTest, CompletingTwiceGivesTheSameFile) {
  const std::string upload = created(6);
  const std::string a = part(upload, "abc"), b = part(upload, "def");
  const Answer first = complete(upload, {a, b});
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(complete(upload, {a, b}).json(), first.json());
  const Answer other = complete(upload, {b, a});
  EXPECT_EQ(other.status, 400);
  EXPECT_EQ(other.code(), "upload_not_pending");
  EXPECT_EQ(cancel(upload).code(), "upload_not_pending");
  EXPECT_EQ(send_part(upload, form_of("abc"), tenant_.key).code(), "upload_not_pending");
  EXPECT_EQ(files(), 1u);
  send("DELETE", "/v1/files/" + text(first.json().at("file").at("id")));
  EXPECT_TRUE(complete(upload, {a, b}).json().at("file").is_null()) << "its file is gone";
}

TEST_F(UploadsTest, OfManyCompletesAtOnceOneMakesTheFile) {
  const std::string content = base::random_bytes(30 << 20);
  const std::string upload = created(static_cast<std::int64_t>(content.size()));
  const std::string a = part(upload, content.substr(0, 20 << 20)), b = part(upload, content.substr(20 << 20));
  std::vector<Answer> answers(6);
  {
    std::vector<std::jthread> clients;
    for (Answer& answer : answers) clients.emplace_back([&] { answer = complete(upload, {a, b}); });
  }
  std::set<std::string> made;
  for (const Answer& answer : answers) {
    if (answer.status == 200) {
      made.insert(text(answer.json().at("file").at("id")));
    } else {
      EXPECT_EQ(answer.status, 409) << answer.body;
      EXPECT_EQ(answer.code(), "upload_in_completion");
      EXPECT_EQ(answer.header("x-should-retry"), "true");
    }
  }
  ASSERT_EQ(made.size(), 1u);
  EXPECT_EQ(files(), 1u);
  EXPECT_EQ(text(complete(upload, {a, b}).json().at("file").at("id")), *made.begin());
  EXPECT_EQ(get("/v1/files/" + *made.begin() + "/content").body, content);
}

TEST_F(UploadsTest, ACompletionThatDiedHalfWayIsSentAgain) {
  const std::string upload = created(6);
  const std::string a = part(upload, "abc"), b = part(upload, "def");
  objects::LocalStore store(gateway_->data() / "objects");
  const auto half = store.create(6);  // as the gateway that died left it: a lease, and half an object
  half->write("abc");
  const auto dead = pool().transact(postgres::Scope::project(tenant_.project.id), [&](postgres::Transaction& tx) {
    return storage::UploadStore(tx).begin_completion(upload, {a, b}, half->id(), 60);
  });
  EXPECT_EQ(files(), 0u);
  EXPECT_EQ(complete(upload, {a, b}).code(), "upload_in_completion");
  system_sql("UPDATE upload SET completing_until = clock_timestamp() WHERE id = $1", {upload});
  const Answer done = complete(upload, {a, b}, md5_of("abcdef"));
  ASSERT_EQ(done.status, 200) << done.body;
  EXPECT_EQ(files(), 1u);
  const auto noted = system_sql("SELECT object_id FROM object_removal WHERE object_id = $1", {half->id()});
  EXPECT_EQ(noted.size(), 1u) << "what it wrote is removed in time";
}

TEST_F(UploadsTest, AMissingPartObjectIsOurFaultAndLeavesTheUploadPending) {
  const std::string upload = created(6);
  const std::string a = part(upload, "abc"), b = part(upload, "def");
  const auto row = system_sql("SELECT object_id FROM upload_part WHERE id = $1", {b});
  objects::LocalStore store(gateway_->data() / "objects");
  ASSERT_TRUE(store.remove(row.row(0).text("object_id")));
  EXPECT_EQ(complete(upload, {a, b}).status, 500);
  EXPECT_EQ(files(), 0u);
  EXPECT_EQ(complete(upload, {a, part(upload, "def")}).status, 200) << "the part sent again makes it whole";
}

TEST_F(UploadsTest, AnUploadExpiresByTheDatabasesClock) {
  const std::string upload = created(3);
  const std::string id = part(upload, "abc");
  system_sql("UPDATE upload SET created_at = created_at - interval '2 h', expires_at = clock_timestamp() WHERE id = $1", {upload});
  for (const Answer& answer : {send_part(upload, form_of("abc"), tenant_.key), complete(upload, {id}), cancel(upload)}) {
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.code(), "upload_not_pending");
    EXPECT_NE(answer.message().find("is expired"), std::string::npos) << answer.body;
  }
}

TEST_F(UploadsTest, AnotherProjectSeesNothing) {
  const std::string upload = created(3), path = "/v1/uploads/" + upload;
  const std::string id = part(upload, "abc");
  const Tenant other = make_tenant();
  const std::string body = "{\"part_ids\":[\"" + id + "\"]}";
  for (const Answer& answer : {send_as(other.key, "POST", path + "/cancel"), send_as(other.key, "POST", path + "/complete", body),
                               send_part(upload, form_of("abc"), other.key), send("POST", "/v1/uploads/upload-none/cancel"),
                               send("POST", "/v1/uploads/x%20y/complete", body),
                               send_part("file-abc", form_of("abc"), tenant_.key)}) {
    EXPECT_EQ(answer.status, 404) << answer.body;
    EXPECT_EQ(answer.code(), "upload_not_found") << answer.body;
  }
  EXPECT_EQ(complete(upload, {id}).status, 200);
}

TEST_F(UploadsTest, TooManyPendingUploadsAreRefused) {
  for (int i = 0; i < storage::kMostPendingUploads; ++i) created(1);
  const Answer answer = create(1);
  EXPECT_EQ(answer.status, 429);
  EXPECT_EQ(answer.code(), "too_many_uploads");
  EXPECT_EQ(answer.header("x-should-retry"), "false");
}

class OneThreadUploadsTest : public UploadsTest {
 protected:
  static void SetUpTestSuite() {
    gateway_ = new RunningGateway([](base::Settings& settings) { settings.gateway.storage_threads = 1; });
  }
};

TEST_F(OneThreadUploadsTest, OthersAreAnsweredWhileALargeUploadIsPutTogether) {
  const std::string content(48 << 20, 'x');
  const std::string other = GatewayTest::upload("other");
  const std::string upload = created(4 * static_cast<std::int64_t>(content.size()));
  std::vector<std::string> ids;
  for (int i = 0; i < 4; ++i) ids.push_back(part(upload, content));
  std::atomic<bool> done = false;
  std::jthread client([&] {
    EXPECT_EQ(complete(upload, ids, std::string(32, '0')).code(), "upload_md5_mismatch");
    done = true;
  });
  const auto begun = [&] {
    return !system_sql("SELECT id FROM upload WHERE id = $1 AND completing_until IS NOT NULL", {upload}).empty();
  };
  while (!done && !begun()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  int answered = 0;
  while (!done) answered += get("/v1/files/" + other + "/content").status == 200;
  EXPECT_GE(answered, 12) << "they wait for a piece, not for the whole";
}

}  // namespace
}  // namespace finetuned::tests
