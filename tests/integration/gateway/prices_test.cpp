#include <gmock/gmock.h>

#include <ctime>

#include "tests/integration/gateway/admin_fixture.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using Types = std::vector<std::string>;

/// Jobs of 6,400 tokens.
class PricesTest : public AdminTest {
 protected:
  void SetUp() override { give_credit(pool(), tenant_.project, 1'000'000'000); }

  json::value quote() {
    const Answer answer = send("POST", "/v1/fine_tuning/jobs/quote", body());
    EXPECT_EQ(answer.status, 200) << answer.body;
    return answer.json();
  }
  std::string amount() { return text(quote().at("amount")); }
  std::string body() const { return R"({"model":")" + base_.name + R"(","training_file":")" + file_.id + R"(","hyperparameters":{"n_epochs":1}})"; }

  storage::BaseModel base_ = make_base_model(pool(), 100);
  storage::File file_ = make_counted_file(pool(), tenant_.project, base_, std::vector<std::uint32_t>(128, 50));
};

TEST_F(PricesTest, AJobKeepsTheVersionThatItWasQuotedAt) {
  EXPECT_EQ(amount(), "6400000");
  const Answer first = send("POST", "/v1/fine_tuning/jobs", body());
  ASSERT_EQ(first.status, 200) << first.body;
  const json::value made = done("POST", "/prices", R"({"nano_per_1k":"1234567"})");
  EXPECT_EQ(made.at("set_by"), "organization");
  EXPECT_EQ(amount(), "7901229") << "6400 x 1234567 / 1000, to the even one";
  const json::value own = done("POST", "/prices", R"({"nano_per_1k":"3","model":")" + base_.name + "\"}");
  EXPECT_EQ(amount(), "19") << "the model's own goes before the one for all";
  EXPECT_EQ(quote().at("price_version"), own.at("version"));
  const Answer second = send("POST", "/v1/fine_tuning/jobs", body());
  ASSERT_EQ(second.status, 200) << second.body;
  const json::value transfers = get("/v1/billing/transfers").json().at("data");
  EXPECT_EQ(transfers.at(0).at("amount"), "19");
  EXPECT_EQ(transfers.at(0).at("price_version"), own.at("version"));
  EXPECT_EQ(transfers.at(1).at("amount"), "6400000");
  EXPECT_EQ(audited(), (Types{"price.created", "price.created"}));
}

TEST_F(PricesTest, AnOrganizationPricesForItselfAlone) {
  const Tenant stranger = make_tenant();
  const auto file = make_counted_file(pool(), stranger.project, base_, std::vector<std::uint32_t>(128, 50));
  const json::value made = done("POST", "/prices", R"({"nano_per_1k":"0"})");
  EXPECT_EQ(amount(), "0");
  const Answer theirs = send_as(stranger.key, "POST", "/v1/fine_tuning/jobs/quote",
                                R"({"model":")" + base_.name + R"(","training_file":")" + file.id + R"(","hyperparameters":{"n_epochs":1}})");
  EXPECT_EQ(theirs.json().at("amount"), "6400000");
  const auto listed = ids(send_as(stranger.admin_key, "GET", "/v1/organization/prices?limit=100").json());
  EXPECT_THAT(listed, testing::Not(testing::Contains(text(made.at("id")))));
  EXPECT_THAT(listed, testing::Contains("price-1")) << "the platform's";
  EXPECT_EQ(ids(done("GET", "/prices?limit=1")), Types{text(made.at("id"))});
  EXPECT_EQ(send_as(stranger.admin_key, "GET", "/v1/organization/prices?after=" + text(made.at("id"))).code(), "invalid_cursor");
}

TEST_F(PricesTest, ALaterPriceWaitsForItsTime) {
  const std::int64_t later = std::time(nullptr) + 86400;
  const std::string at = std::to_string(later);
  const json::value next = done("POST", "/prices", R"({"nano_per_1k":"5","valid_from":)" + at + "}");
  EXPECT_EQ(next.at("valid_from"), later);
  EXPECT_EQ(amount(), "6400000");
  expect_refused("POST", "/prices", "valid_from",
                 {R"({"nano_per_1k":"6"})", R"({"nano_per_1k":"6","valid_from":)" + at + "}",
                  R"({"nano_per_1k":"6","valid_from":)" + std::to_string(std::time(nullptr) - 60) + "}"});
  EXPECT_THAT(admin("POST", "/prices", R"({"nano_per_1k":"6"})").message(),
              testing::HasSubstr("Version " + std::to_string(next.at("version").as_int64()) + " of this price begins at"));
  done("POST", "/prices", R"({"nano_per_1k":"6","valid_from":)" + std::to_string(later + 1) + "}");
  EXPECT_EQ(done("GET", "/prices?limit=2").at("data").at(1).at("valid_until"), later + 1);
}

TEST_F(PricesTest, WhatIsNoPriceIsRefused) {
  expect_refused("POST", "/prices", "nano_per_1k",
                 {"{}", R"({"nano_per_1k":5})", R"({"nano_per_1k":"-1"})", R"({"nano_per_1k":"1.5"})", R"({"nano_per_1k":""})",
                  R"({"nano_per_1k":"1000000000000001"})", R"({"nano_per_1k":"9223372036854775808"})"});
  expect_refused("POST", "/prices", "model", {R"({"nano_per_1k":"1","model":"none"})"});
  expect_refused("POST", "/prices", "method", {R"({"nano_per_1k":"1","method":"alchemy"})"});
  EXPECT_TRUE(audited().empty());
}

/// The product left int64, and the answer was a 500.
TEST_F(PricesTest, AJobBeyondWhatAnAccountHoldsIsRefused) {
  done("POST", "/prices", R"({"nano_per_1k":"1000000000000000"})");
  std::string huge = body();
  huge.replace(huge.find("\"n_epochs\":1"), 12, "\"n_epochs\":50");
  const auto big = make_counted_file(pool(), tenant_.project, base_, std::vector<std::uint32_t>(4'000, 100));
  huge.replace(huge.find(file_.id), file_.id.size(), big.id);
  const Answer refused = send("POST", "/v1/fine_tuning/jobs", huge);
  EXPECT_EQ(refused.status, 400) << refused.body;
  EXPECT_EQ(refused.code(), "too_many_tokens") << refused.body;
}

}  // namespace
}  // namespace finetuned::tests
