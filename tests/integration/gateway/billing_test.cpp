#include "base/ids.h"
#include "tests/integration/gateway/running_gateway.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;

class BillingTest : public GatewayTest {
 protected:
  std::string credits(const std::string& project) { return "/v1/organization/projects/" + project + "/credits"; }
};

TEST_F(BillingTest, CreditIsSeenInBalanceAndTransfers) {
  const json::value empty = get("/v1/billing/balances").json();
  EXPECT_EQ(empty.at("data").at(0).at("available"), "0");
  const Answer credited = send_as(tenant_.admin_key, "POST", credits(tenant_.project.id), R"({"amount":"5000000000","reason":"gift"})");
  ASSERT_EQ(credited.status, 200) << credited.body;
  EXPECT_EQ(credited.json().at("balance").at("available"), "5000000000");
  const json::value balance = get("/v1/billing/balances").json().at("data").at(0);
  EXPECT_EQ(balance.at("ledger"), "USD_NANO");
  EXPECT_EQ(balance.at("available"), "5000000000");
  EXPECT_EQ(balance.at("held"), "0");
  EXPECT_EQ(balance.at("spent"), "0");
  EXPECT_EQ(balance.at("credited"), "5000000000");
  const json::value transfers = get("/v1/billing/transfers").json();
  ASSERT_EQ(transfers.at("data").as_array().size(), 1u);
  const json::value& transfer = transfers.at("data").at(0);
  EXPECT_EQ(transfer.at("amount"), "5000000000");
  EXPECT_EQ(transfer.at("reason"), "gift");
  EXPECT_EQ(transfer.at("debit_account"), "funding");
  EXPECT_EQ(transfer.at("credit_account"), "prepaid");
  EXPECT_TRUE(transfer.at("job_id").is_null());
  EXPECT_EQ(transfers.at("last_id"), transfer.at("id"));
}

TEST_F(BillingTest, ARepeatedTransferCreditsOnce) {
  const std::string id = base::make_uuid();
  const std::string body = R"({"amount":"1000","reason":"gift","transfer_id":")" + id + "\"}";
  EXPECT_EQ(send_as(tenant_.admin_key, "POST", credits(tenant_.project.id), body).status, 200);
  const Answer again = send_as(tenant_.admin_key, "POST", credits(tenant_.project.id), body);
  EXPECT_EQ(again.status, 200) << again.body;
  EXPECT_EQ(again.json().at("balance").at("available"), "1000");
  const Answer other = send_as(tenant_.admin_key, "POST", credits(tenant_.project.id),
                               R"({"amount":"2000","reason":"gift","transfer_id":")" + id + "\"}");
  EXPECT_EQ(other.status, 409);
  EXPECT_EQ(other.header("x-should-retry"), "false");
}

/// The sum left bigint, and the answer was a 500.
TEST_F(BillingTest, ACreditBeyondWhatAnAccountHoldsIsRefused) {
  const std::string most = R"({"amount":"9223372036854775807","reason":"gift"})";
  EXPECT_EQ(send_as(tenant_.admin_key, "POST", credits(tenant_.project.id), R"({"amount":"1","reason":"x"})").status, 200);
  EXPECT_EQ(send_as(tenant_.admin_key, "POST", credits(tenant_.project.id), most).status, 400);
  EXPECT_EQ(get("/v1/billing/balances").json().at("data").at(0).at("available"), "1");
}

TEST_F(BillingTest, ACreditLimitIsSpentLikeCredit) {
  const std::string path = "/v1/organization/projects/" + tenant_.project.id + "/credit_limit";
  const auto put = [&](const std::string& body) { return send_as(tenant_.admin_key, "PUT", path, body); };
  EXPECT_EQ(send_as(tenant_.admin_key, "GET", path).json().at("amount"), "0");
  const Answer set = put(R"({"amount":"5000000000"})");
  ASSERT_EQ(set.status, 200) << set.body;
  EXPECT_EQ(set.json().at("amount"), "5000000000");
  EXPECT_EQ(set.json().at("balance").at("available"), "5000000000");
  const json::value balance = get("/v1/billing/balances").json().at("data").at(0);
  EXPECT_EQ(balance.at("credit_limit"), "5000000000");
  EXPECT_EQ(balance.at("credited"), "0");
  EXPECT_EQ(put(R"({"amount":"5000000000"})").status, 200);
  const json::value log = send_as(tenant_.admin_key, "GET", "/v1/organization/audit_logs?event_types[]=credit_limit.updated").json();
  ASSERT_EQ(log.at("data").as_array().size(), 1u) << "what changes nothing is not logged";
  EXPECT_EQ(log.at("data").at(0).at("credit_limit.updated").at("changes_requested").at("credit_limit"), "5000000000");
  for (const char* bad : {R"({"amount":"-1"})", R"({"amount":5})", R"({"amount":"1000000000000000001"})", "{}"})
    EXPECT_EQ(put(bad).param(), "amount") << bad;
  EXPECT_EQ(send("PUT", path, R"({"amount":"1"})").status, 403) << "a project does not lend to itself";
}

TEST_F(BillingTest, OnlyTheOrganizationsAdminCredits) {
  const std::string body = R"({"amount":"1000","reason":"gift"})";
  EXPECT_EQ(send("POST", credits(tenant_.project.id), body).status, 403);
  const Tenant other = make_tenant();
  EXPECT_EQ(send_as(other.admin_key, "POST", credits(tenant_.project.id), body).status, 404);
  EXPECT_EQ(send_as(tenant_.admin_key, "GET", "/v1/billing/balances").status, 403);
  for (const char* bad : {R"({"amount":1000,"reason":"x"})", R"({"amount":"-1","reason":"x"})", R"({"amount":"0","reason":"x"})",
                          R"({"amount":"1.5","reason":"x"})", R"({"amount":"1"})", R"({"amount":"1","reason":"x","transfer_id":"no"})"})
    EXPECT_EQ(send_as(tenant_.admin_key, "POST", credits(tenant_.project.id), bad).status, 400) << bad;
  EXPECT_EQ(get("/v1/billing/balances").json().at("data").at(0).at("available"), "0");
}

}  // namespace
}  // namespace finetuned::tests
