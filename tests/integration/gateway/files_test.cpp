#include <gmock/gmock.h>

#include "storage/intake_store.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;

class FilesTest : public GatewayTest {};

TEST_F(FilesTest, AFileHasOpenAisShape) {
  const std::string content = "{\"messages\":[]}\n";
  const Answer created =
      post_multipart(multipart({file_part("../my data.jsonl", content), field_part("purpose", "fine-tune")}));
  ASSERT_EQ(created.status, 200) << created.body;
  const json::value file = created.json();
  const std::string id(file.at("id").as_string());
  EXPECT_TRUE(id.starts_with("file-"));
  EXPECT_EQ(file.at("object"), "file");
  EXPECT_EQ(file.at("bytes"), static_cast<std::int64_t>(content.size()));
  EXPECT_EQ(file.at("filename"), "my data.jsonl");
  EXPECT_EQ(file.at("purpose"), "fine-tune");
  EXPECT_EQ(file.at("status"), "uploaded");
  EXPECT_FALSE(file.as_object().contains("status_details"));
  EXPECT_FALSE(file.as_object().contains("expires_at"));
  EXPECT_GT(file.at("created_at").as_int64(), 1'600'000'000);

  const Answer found = get("/v1/files/" + id);
  EXPECT_EQ(found.status, 200);
  EXPECT_EQ(found.json(), file);

  const Answer removed = send("DELETE", "/v1/files/" + id);
  EXPECT_EQ(removed.status, 200);
  const json::value shape = removed.json();
  EXPECT_EQ(text(shape.at("id")), id);
  EXPECT_EQ(shape.at("object"), "file");
  EXPECT_EQ(shape.at("deleted"), true);
  EXPECT_EQ(get("/v1/files/" + id).status, 404);
  EXPECT_EQ(get("/v1/files/" + id + "/content").status, 404);
  EXPECT_EQ(send("DELETE", "/v1/files/" + id).status, 404);
}

TEST_F(FilesTest, EveryAnswerHasItsHeaders) {
  for (const Answer& answer : {get("/v1/files"), get("/v1/files/file-none")}) {
    EXPECT_TRUE(answer.header("x-request-id").starts_with("req-"));
    EXPECT_EQ(answer.header("openai-version"), "2020-10-01");
    EXPECT_EQ(answer.header("openai-organization"), tenant_.project.organization_name);
    EXPECT_NE(answer.header("openai-processing-ms"), "");
    EXPECT_EQ(answer.header("content-type"), "application/json");
  }
}

TEST_F(FilesTest, AnEmptyListIsWhole) {
  const json::value list = get("/v1/files").json();
  EXPECT_EQ(list.at("object"), "list");
  EXPECT_EQ(list.at("data").as_array().size(), 0u);
  EXPECT_EQ(list.at("has_more"), false);
  EXPECT_TRUE(list.at("first_id").is_null());
  EXPECT_TRUE(list.at("last_id").is_null());
}

TEST_F(FilesTest, ListsPageByTheLastId) {
  std::vector<std::string> ids;
  for (int i = 0; i < 5; ++i) ids.push_back(upload("{\"row\":" + std::to_string(i) + "}\n"));
  upload("other", "user_data");
  std::vector<std::string> seen;
  std::string after;
  for (int pages = 0; pages < 4; ++pages) {
    const json::value list = get("/v1/files?purpose=fine-tune&order=asc&limit=2" + after).json();
    for (const auto& file : list.at("data").as_array()) seen.emplace_back(file.at("id").as_string());
    EXPECT_EQ(text(list.at("last_id")), seen.back());
    if (!list.at("has_more").as_bool()) break;
    after = "&after=" + seen.back();
  }
  EXPECT_EQ(seen, ids);
  const json::value newest = get("/v1/files?limit=1").json();
  EXPECT_EQ(newest.at("data").at(0).at("purpose"), "user_data");
  EXPECT_EQ(newest.at("data").at(0).at("status"), "processed");
  EXPECT_EQ(newest.at("has_more"), true);
}

TEST_F(FilesTest, BadPagingIsRefused) {
  for (const char* bad : {"limit=0", "limit=10001", "limit=x", "limit=1.5", "order=up", "after=file-nothing"}) {
    const Answer answer = get(std::string("/v1/files?") + bad);
    EXPECT_EQ(answer.status, 400) << bad;
    EXPECT_EQ(answer.param(), std::string(bad).substr(0, std::string(bad).find('='))) << bad;
  }
}

TEST_F(FilesTest, AnotherProjectSeesNothing) {
  const std::string id = upload("{\"a\":1}\n");
  const Tenant other = make_tenant();
  for (const std::string& path : {"/v1/files/" + id, "/v1/files/" + id + "/content", "/v1/files/" + id + "/report"}) {
    const Answer answer = send_as(other.key, "GET", path);
    EXPECT_EQ(answer.status, 404) << path;
    EXPECT_EQ(answer.code(), "file_not_found");
  }
  EXPECT_EQ(send_as(other.key, "DELETE", "/v1/files/" + id).status, 404);
  const json::value list = send_as(other.key, "GET", "/v1/files").json();
  EXPECT_EQ(list.at("data").as_array().size(), 0u);
  EXPECT_EQ(get("/v1/files/" + id).status, 200);
}

TEST_F(FilesTest, AReportShowsWhatIntakeFound) {
  const std::string id = upload("nonsense\n");
  const json::value before = get("/v1/files/" + id + "/report").json();
  EXPECT_EQ(text(before.at("file_id")), id);
  EXPECT_EQ(before.at("status"), "uploaded");
  EXPECT_TRUE(before.at("ok").is_null());
  EXPECT_EQ(before.at("faults").as_array().size(), 0u);
  pool().transact(postgres::Scope::system(), [&](postgres::Transaction& tx) {
    tx.execute("UPDATE file SET intake_epoch = 1, intake_owner = 't', intake_until = clock_timestamp() + interval '1 min'"
               " WHERE id = $1", {id});
    json::object report{{"ok", false}, {"rows", 0}, {"fault_count", 1}};
    report["faults"] = json::array{json::object{{"line", 1}, {"field", nullptr}, {"code", "invalid_json"}, {"message", "not JSON"}}};
    storage::IntakeStore(tx).finish({id, 1}, storage::FileStatus::kError, "line 1: not JSON", report);
  });
  const json::value after = get("/v1/files/" + id + "/report").json();
  EXPECT_EQ(after.at("status"), "error");
  EXPECT_EQ(after.at("ok"), false);
  EXPECT_EQ(after.at("faults").at(0).at("line"), 1);
  EXPECT_EQ(get("/v1/files/" + id).json().at("status_details"), "line 1: not JSON");
}

TEST_F(FilesTest, AnExpiredFileIsAbsentAtOnce) {
  const std::string id = upload("{\"a\":1}\n"), stays = upload("{\"b\":1}\n");
  pool().transact(postgres::Scope::system(), [&](postgres::Transaction& tx) {
    tx.execute("UPDATE file SET expires_at = clock_timestamp() WHERE id = $1", {id});
  });
  for (const std::string& path : {"/v1/files/" + id, "/v1/files/" + id + "/content", "/v1/files/" + id + "/report"})
    EXPECT_EQ(get(path).code(), "file_not_found") << path;
  EXPECT_EQ(send("DELETE", "/v1/files/" + id).status, 404);
  const json::value list = get("/v1/files").json();
  ASSERT_EQ(list.at("data").as_array().size(), 1u);
  EXPECT_EQ(text(list.at("data").at(0).at("id")), stays);
}

}  // namespace
}  // namespace finetuned::tests
