#include "tests/integration/webhooks/webhooks_fixture.h"

namespace finetuned::webhooks {
namespace {

using testing::HasSubstr;

class WebhookRefusalsTest : public WebhooksTest {
 protected:
  storage::WebhookDelivery tried(const std::string& id, const DelivererOptions& with) {
    cancelled_job();
    Deliverer deliverer(tests::pool(), key_, with);
    EXPECT_TRUE(deliverer.deliver_one());
    return delivery(id);
  }
};

TEST_F(WebhookRefusalsTest, ARedirectIsAFailureAndIsNotFollowed) {
  const auto row = tried(add_endpoint(receiver_->url("/redirect")), options());
  EXPECT_EQ(row.state, "pending");
  EXPECT_EQ(row.last_status, 302);
  EXPECT_THAT(row.last_error.value_or(""), HasSubstr("redirect"));
  EXPECT_EQ(receiver_->requests().size(), 1u);
}

TEST_F(WebhookRefusalsTest, APrivateAddressIsNotAskedUnlessItsHostIsAllowed) {
  DelivererOptions closed = options();
  closed.sender.allowed_hosts.clear();
  const auto row = tried(add_endpoint(receiver_->url("/ok")), closed);
  EXPECT_EQ(row.state, "pending");
  EXPECT_FALSE(row.last_status);
  EXPECT_THAT(row.last_error.value_or(""), HasSubstr("loopback"));
  EXPECT_TRUE(receiver_->requests().empty());
}

TEST_F(WebhookRefusalsTest, ACertificateThatNobodyTrustsIsAFailure) {
  DelivererOptions untrusting = options();
  untrusting.sender.ca_file.clear();
  const auto row = tried(add_endpoint(receiver_->url("/ok")), untrusting);
  EXPECT_EQ(row.state, "pending");
  EXPECT_FALSE(row.last_status);
  EXPECT_TRUE(row.last_error);
  EXPECT_TRUE(receiver_->requests().empty());
}

TEST_F(WebhookRefusalsTest, ACertificateOfAnotherNameIsAFailure) {
  DelivererOptions by_address = options();
  const std::string port = receiver_->authority().substr(receiver_->authority().find(':'));
  by_address.sender.allowed_hosts = {"127.0.0.1" + port};
  const auto row = tried(add_endpoint("https://127.0.0.1" + port + "/ok"), by_address);
  EXPECT_EQ(row.state, "pending");
  EXPECT_FALSE(row.last_status);
  EXPECT_TRUE(receiver_->requests().empty());
}

TEST_F(WebhookRefusalsTest, NoProxyOfTheEnvironmentIsUsed) {
  ::setenv("https_proxy", "http://127.0.0.1:1", 1);
  const auto row = tried(add_endpoint(receiver_->url("/ok")), options());
  ::unsetenv("https_proxy");
  EXPECT_EQ(row.state, "delivered");
}

TEST_F(WebhookRefusalsTest, Status410DisablesTheEndpoint) {
  const std::string id = add_endpoint(receiver_->url("/gone"));
  const auto row = tried(id, options());
  EXPECT_EQ(row.state, "given_up");
  EXPECT_EQ(row.last_status, 410);
  EXPECT_FALSE(endpoint(id).enabled);
  EXPECT_THAT(endpoint(id).disabled_reason.value_or(""), HasSubstr("410"));
  cancelled_job();
  EXPECT_EQ(deliveries(id).size(), 1u) << "nothing more is queued for it";
}

TEST_F(WebhookRefusalsTest, OfALongAnswerAPrefixIsKept) {
  const auto row = tried(add_endpoint(receiver_->url("/big")), options());
  EXPECT_EQ(row.state, "delivered");
  EXPECT_EQ(row.last_answer, std::string(256, 'b'));
}

TEST_F(WebhookRefusalsTest, AnAnswerThatTakesTooLongIsAFailure) {
  DelivererOptions hurried = options();
  hurried.sender.timeout = std::chrono::milliseconds(300);
  const auto row = tried(add_endpoint(receiver_->url("/slow")), hurried);
  EXPECT_EQ(row.state, "pending");
  EXPECT_FALSE(row.last_status);
  EXPECT_TRUE(row.last_error);
}

TEST_F(WebhookRefusalsTest, ASecretSealedUnderAnotherKeyIsToldAndNotSent) {
  const std::string id = add_endpoint(receiver_->url("/ok"));
  cancelled_job();
  Deliverer other(tests::pool(), base::SealingKey::from_base64(base::base64_encode(base::random_bytes(32))), options());
  EXPECT_TRUE(other.deliver_one());
  EXPECT_THAT(delivery(id).last_error.value_or(""), HasSubstr("rotate"));
  EXPECT_TRUE(receiver_->requests().empty());
}

}  // namespace
}  // namespace finetuned::webhooks
