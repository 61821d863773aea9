#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/base64.h"
#include "base/ids.h"
#include "billing/admission.h"
#include "services/webhooks/deliverer.h"
#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "storage/webhook_store.h"
#include "tests/integration/platform/eventually.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"
#include "tests/integration/webhooks/receiver.h"

namespace finetuned::webhooks {

using postgres::Scope;
using postgres::Transaction;

/// A project with credit, and one receiver for the suite; nobody else's endpoints are in the database.
class WebhooksTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { receiver_ = new tests::Receiver(); }
  static void TearDownTestSuite() {
    delete receiver_;
    receiver_ = nullptr;
  }
  WebhooksTest() {
    receiver_->forget();
    tests::give_credit(tests::pool(), project_, 1'000'000'000);
    system("DELETE FROM webhook_endpoint");
  }

  static postgres::Result system(const std::string& sql, const std::vector<postgres::Value>& values = {}) {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) { return tx.execute(sql, values); });
  }

  std::string add_endpoint(const std::string& url, std::vector<std::string> events = {"fine_tuning.job.cancelled",
                                                                                     "fine_tuning.job.failed",
                                                                                     "fine_tuning.job.succeeded"}) {
    storage::NewWebhookEndpoint endpoint{base::make_id("we"), project_.id, url, std::move(events), std::nullopt, ""};
    endpoint.sealed_secret = key_.seal(secret_, endpoint.id);
    tests::pool().transact(Scope::project(project_.id),
                           [&](Transaction& tx) { EXPECT_TRUE(storage::WebhookStore(tx).create(endpoint)); });
    return endpoint.id;
  }

  std::string add_job() {
    const auto file = tests::make_counted_file(tests::pool(), project_, model_, std::vector<std::uint32_t>(12, 20));
    return tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
      return billing::create_job(tx, tests::new_job(project_, model_, file)).id;
    });
  }
  std::string cancelled_job() {
    const std::string id = add_job();
    tests::pool().transact(Scope::project(project_.id),
                           [&](Transaction& tx) { storage::JobStore(tx).request_cancel(id); });
    return id;
  }

  /// Newest first.
  std::vector<storage::WebhookDelivery> deliveries(const std::string& endpoint) {
    return tests::pool().transact(Scope::project(project_.id), [&](Transaction& tx) {
      return storage::WebhookStore(tx).list_deliveries(endpoint, {.after = std::nullopt, .limit = 100}).data;
    });
  }
  storage::WebhookDelivery delivery(const std::string& endpoint) {
    const auto all = deliveries(endpoint);
    EXPECT_EQ(all.size(), 1u);
    return all.empty() ? storage::WebhookDelivery{} : all.front();
  }
  storage::WebhookEndpoint endpoint(const std::string& id) {
    return tests::pool().transact(Scope::project(project_.id),
                                  [&](Transaction& tx) { return *storage::WebhookStore(tx).find(id); });
  }

  DelivererOptions options() {
    DelivererOptions options;
    options.sender.allowed_hosts = {receiver_->authority()};
    options.sender.ca_file = receiver_->ca_file();
    options.idle_pause = std::chrono::milliseconds(20);
    return options;
  }
  void make_due() { system("UPDATE webhook_delivery SET next_attempt_at = clock_timestamp() WHERE state = 'pending'"); }

  static inline tests::Receiver* receiver_ = nullptr;
  std::string secret_ = base::random_bytes(32);
  base::SealingKey key_ = base::SealingKey::from_base64(base::base64_encode(base::random_bytes(32)));
  storage::Project project_ = tests::make_project(tests::pool());
  storage::BaseModel model_ = tests::make_base_model(tests::pool());
};

}  // namespace finetuned::webhooks
