#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "base/settings.h"
#include "services/gateway/gateway.h"
#include "storage/objects/object_store.h"
#include "storage/organization_store.h"
#include "tests/integration/gateway/http_client.h"
#include "tests/integration/support/tenants.h"

namespace finetuned::tests {

/// A gateway on a loopback port of its own, with the test's PostgreSQL and Redis and an empty data directory.
class RunningGateway {
 public:
  /// `change` may alter the settings first.
  explicit RunningGateway(const std::function<void(base::Settings&)>& change = {});
  /// ... and `open` its store.
  RunningGateway(const std::function<void(base::Settings&)>& change,
                 const std::function<std::unique_ptr<objects::ObjectStore>(const base::Settings&)>& open);
  ~RunningGateway();

  std::uint16_t port() const { return gateway_->port(); }
  const gateway::Router& router() const { return gateway_->router(); }
  /// As SIGHUP does.
  bool reload() { return gateway_->reload(); }
  /// Begins the drain.
  void stop() { thread_.request_stop(); }
  /// Waits for the drain's end: whether everything was answered.
  bool wait();
  /// Files under the object store, half-written ones included.
  std::size_t stored_objects() const;
  const std::filesystem::path& data() const { return data_; }

 private:
  std::filesystem::path data_;
  std::optional<gateway::Gateway> gateway_;
  bool drained_ = false;
  std::jthread thread_;
};

/// A project of an organization of its own, with keys.
struct Tenant {
  storage::Project project;
  std::string key;
  std::string admin_key;
};
Tenant make_tenant();

/// One gateway for a suite, and two tenants a test.
class GatewayTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { gateway_ = new RunningGateway(); }
  static void TearDownTestSuite() {
    delete gateway_;
    gateway_ = nullptr;
  }

  Answer get(const std::string& path) { return send("GET", path); }
  Answer send(const std::string& method, const std::string& path, const std::string& body = "",
              std::vector<std::string> headers = {});
  Answer send_as(const std::string& key, const std::string& method, const std::string& path, const std::string& body = "");
  /// Uploads a dataset and returns its file id.
  std::string upload(const std::string& content, const std::string& purpose = "fine-tune");
  Answer post_multipart(const std::string& body);

  static inline RunningGateway* gateway_ = nullptr;
  Tenant tenant_ = make_tenant();
};

}  // namespace finetuned::tests
