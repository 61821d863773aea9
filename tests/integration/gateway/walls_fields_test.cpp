#include <gmock/gmock.h>

#include <boost/json/serialize.hpp>

#include "tests/integration/gateway/walls_fixture.h"
#include "tests/integration/support/services.h"

// Fields of a body that are not a client's to say. Each create and change is sent with all of them, and does what it
// does without: this is also where every such route is seen to work.

namespace finetuned::tests {
namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kMarker = "walls-marker";
constexpr std::int64_t kNumber = 4'242'424'242;

class FieldsTest : public WallsTest {
 protected:
  static json::object dangerous() {
    const Estate& other = stranger();
    json::object fields;
    fields["id"] = other.id("file_id");
    fields["object"] = kMarker;
    fields["project_id"] = other.id("project_id");
    fields["organization_id"] = other.id("organization_id");
    fields["owner"] = kMarker;
    fields["owned_by"] = other.id("organization_id");
    fields["status"] = kMarker;
    fields["state"] = kMarker;
    fields["created_at"] = kNumber;
    fields["finished_at"] = kNumber;
    fields["bytes"] = kNumber;
    fields["trained_tokens"] = kNumber;
    fields["fine_tuned_model"] = other.id("model");
    fields["result_files"] = json::array{other.id("result_file")};
    fields["sha256"] = kMarker;
    fields["object_id"] = kMarker;
    fields["__proto__"] = json::object{{"project_id", other.id("project_id")}};
    fields["constructor"] = json::object{{"prototype", json::object{{"status", kMarker}}}};
    fields["means_nothing"] = json::array{1, json::object{{"a", nullptr}}};
    return fields;
  }

  /// The entry's body with the fields beside its own.
  static std::string with_fields(const MatrixEntry& entry, const Estate& estate) {
    const std::string body = estate.fill(entry.body);
    if (entry.form) {
      std::string more;
      for (const auto& [name, value] : dangerous())
        more += "--cut\r\n" + field_part(std::string(name), value.is_string() ? text(value) : json::serialize(value)) + "\r\n";
      return more + body;
    }
    json::object fields = base::parse_json(body, {.depth = 32, .bytes = body.size()}).as_object();
    for (const auto& [name, value] : dangerous())
      if (!fields.contains(name)) fields[name] = value;
    return json::serialize(fields);
  }

  static Ids foreign() {
    const Estate& other = stranger();
    return {other.id("project_id"), other.id("organization_id"), other.id("file_id"), other.id("model"), other.id("result_file")};
  }
};

TEST_F(FieldsTest, WhatIsNotAClientsToSayIsIgnoredByEveryRoute) {
  for (const MatrixEntry& entry : route_matrix()) {
    if (!entry.takes_body()) continue;
    const Estate estate = fresh();
    if (entry.path().ends_with("/resume")) send_as(estate.tenant.key, "POST", "/v1/fine_tuning/jobs/" + estate.id("fine_tuning_job_id") + "/pause");
    const std::string theirs = hash_of_rows(foreign());
    const Answer answer = ask(entry, entry.path_of(estate), key_for(entry, estate), with_fields(entry, estate));
    EXPECT_EQ(answer.status, entry.status) << entry.route << ": " << answer.body;
    for (const std::string& id : foreign()) EXPECT_THAT(answer.body, Not(HasSubstr(id))) << entry.route;
    EXPECT_THAT(answer.body, Not(HasSubstr(kMarker))) << entry.route;
    EXPECT_THAT(answer.body, Not(HasSubstr(std::to_string(kNumber)))) << entry.route;
    EXPECT_EQ(hash_of_rows(foreign()), theirs) << entry.route << " stored another's ids, or changed another's rows";
  }
  EXPECT_EQ(hash_of_rows({kMarker, std::to_string(kNumber)}), hash_of_rows({"nobody-stored-this"})) << "stored as it was sent";
}

/// An organization could learn another's transfer ids from the 409, and use up those that it foresaw.
TEST_F(FieldsTest, TransferIdsAreTheOrganizationsOwn) {
  const auto credit = [&](const Estate& estate, const std::string& id, const char* amount) {
    return send_as(estate.tenant.admin_key, "POST", estate.fill("/v1/organization/projects/$project_id/credits"),
                   R"({"reason":"gift","amount":")" + std::string(amount) + R"(","transfer_id":")" + id + "\"}");
  };
  const Estate one = fresh(), two = fresh();
  const std::string id = missing_like(one.id("transfer_id"));
  const Answer first = credit(one, id, "5"), second = credit(two, id, "7");
  ASSERT_EQ(first.status, 200) << first.body;
  ASSERT_EQ(second.status, 200) << second.body;
  EXPECT_NE(first.json().at("transfer").at("id"), second.json().at("transfer").at("id"));
  EXPECT_EQ(second.json().at("transfer").at("amount"), "7");
  EXPECT_EQ(credit(one, id, "5").json().at("balance"), first.json().at("balance")) << "once for each of them";
  EXPECT_EQ(credit(one, id, "6").code(), "transfer_conflict");
  EXPECT_EQ(credit(one, two.id("transfer_id"), "5").status, 200);
}

}  // namespace
}  // namespace finetuned::tests
