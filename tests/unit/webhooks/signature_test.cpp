#include "services/webhooks/signature.h"

#include <gtest/gtest.h>

#include "base/base64.h"

namespace finetuned::webhooks {
namespace {

constexpr char kSecret[] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
constexpr char kBody[] = R"({"id":"evt_0123456789","object":"event"})";
constexpr char kSignature[] = "v1,aPdfEWmMzo4umX962C2ibedhw7oLIoG6MZQR/7VtiAY=";

TEST(WebhookSignature, IsWhatPythonsHmacComputes) {
  EXPECT_EQ(signature(*base::base64_decode(kSecret), "evt_0123456789", 1'700'000'000, kBody), kSignature);
}

TEST(WebhookSignature, EachPartCounts) {
  const std::string secret = *base::base64_decode(kSecret);
  EXPECT_NE(signature(secret.substr(1), "evt_0123456789", 1'700'000'000, kBody), kSignature);
  EXPECT_NE(signature(secret, "evt_0123456780", 1'700'000'000, kBody), kSignature);
  EXPECT_NE(signature(secret, "evt_0123456789", 1'700'000'001, kBody), kSignature);
  EXPECT_NE(signature(secret, "evt_0123456789", 1'700'000'000, std::string(kBody) + " "), kSignature);
}

}  // namespace
}  // namespace finetuned::webhooks
