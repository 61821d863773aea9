#include "services/webhooks/sender.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "services/webhooks/retry.h"

namespace finetuned::webhooks {
namespace {

TEST(WebhookSender, ReadsTheAllowedHosts) {
  EXPECT_TRUE(parse_allowed_hosts("").empty());
  EXPECT_THAT(parse_allowed_hosts("Hooks.internal:8443,[::1]:443,10.0.0.7:9000"),
              testing::ElementsAre("10.0.0.7:9000", "[::1]:443", "hooks.internal:8443"));
  for (const char* wrong : {"hooks.internal", "[::1]", "a:1,,b:2", "https://a:1", "a:0", "a:1/x", "u@a:1", " a:1"})
    EXPECT_THROW(parse_allowed_hosts(wrong), base::UsageError) << wrong;
}

TEST(WebhookSender, RefusesAddressesThatAreNotPublicBeforeItConnects) {
  const Sender sender({});
  for (const char* url : {"https://127.0.0.1:1/", "https://10.0.0.1/", "https://[::1]:1/", "https://[::ffff:127.0.0.1]/",
                          "https://169.254.169.254/latest/meta-data/", "https://[fd00::1]/", "https://localhost:1/"}) {
    const Answer answer = sender.post(url, {}, "{}");
    EXPECT_FALSE(answer.status) << url;
    EXPECT_THAT(answer.error, testing::HasSubstr("webhooks are not sent to")) << url;
  }
}

TEST(WebhookSender, AnAllowedHostIsStillAskedOverHttpsOnly) {
  const Sender sender({.allowed_hosts = {"localhost:1"}, .ca_file = ""});
  EXPECT_THAT(sender.post("http://localhost:1/", {}, "{}").error, testing::HasSubstr("must begin with https://"));
  EXPECT_THAT(sender.post("https://localhost:2/", {}, "{}").error, testing::HasSubstr("webhooks are not sent to"));
  EXPECT_THAT(sender.post("https://localhost:1/", {}, "{}").error,
              testing::Not(testing::HasSubstr("webhooks are not sent to")));
}

TEST(WebhookRetry, DoublesFromFiveSecondsToAnHour) {
  EXPECT_DOUBLE_EQ(retry_seconds(1, 1), 5);
  EXPECT_DOUBLE_EQ(retry_seconds(1, 0), 2.5);
  EXPECT_DOUBLE_EQ(retry_seconds(4, 1), 40);
  EXPECT_DOUBLE_EQ(retry_seconds(10, 1), 2560);
  EXPECT_DOUBLE_EQ(retry_seconds(11, 1), 3600);
  EXPECT_DOUBLE_EQ(retry_seconds(1'000'000'000, 0), 1800);
}

}  // namespace
}  // namespace finetuned::webhooks
