#include <gmock/gmock.h>

#include "tests/integration/gateway/admin_fixture.h"
#include "tests/json_cases/refused.h"

namespace finetuned::tests {
namespace {

class StrictJsonTest : public AdminTest {};

struct Door {
  std::string method, path, key;
};

TEST_F(StrictJsonTest, EveryBodyIsReadStrictly) {
  std::vector<Door> doors;
  for (const char* path : {"/v1/fine_tuning/jobs", "/v1/fine_tuning/jobs/quote", "/v1/fine_tuning/alpha/graders/run",
                           "/v1/fine_tuning/alpha/graders/validate", "/v1/uploads", "/v1/webhook_endpoints",
                           "/v1/chat/completions", "/v1/completions"})
    doors.push_back({"POST", path, tenant_.key});
  for (const std::string& path :
       {std::string("/admin_api_keys"), std::string("/projects"), std::string("/spend_limit"), std::string("/spend_alerts"),
        project(), project("/credits"), project("/service_accounts"), project("/users"), project("/spend_limit"),
        project("/spend_alerts")})
    doors.push_back({"POST", "/v1/organization" + path, tenant_.admin_key});
  doors.push_back({"PUT", "/v1/organization" + project("/quotas"), tenant_.admin_key});
  for (const Door& door : doors) {
    for (const auto& bad : refused_json()) {
      const Answer answer = send_as(door.key, door.method, door.path, bad.text);
      EXPECT_EQ(answer.status, 400) << door.path << " took " << bad.name << ": " << answer.body;
      EXPECT_EQ(answer.code(), "invalid_json") << door.path << ", " << bad.name << ": " << answer.body;
      EXPECT_THAT(answer.message(), testing::HasSubstr(bad.why)) << door.path;
    }
  }
}

TEST_F(StrictJsonTest, AnUploadsEndIsReadStrictly) {
  const Answer upload = send("POST", "/v1/uploads",
                             R"({"filename":"a.jsonl","purpose":"fine-tune","bytes":3,"mime_type":"text/jsonl"})");
  ASSERT_EQ(upload.status, 200) << upload.body;
  const std::string path = "/v1/uploads/" + text(upload.json().at("id")) + "/complete";
  for (const auto& bad : refused_json()) EXPECT_EQ(send("POST", path, bad.text).code(), "invalid_json") << bad.name;
}

}  // namespace
}  // namespace finetuned::tests
