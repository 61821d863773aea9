#include "tests/integration/gateway/running_gateway.h"

#include "base/ids.h"
#include "storage/key_store.h"
#include "storage/objects/open_store.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {

namespace fs = std::filesystem;

namespace {

base::Settings test_settings(const fs::path& data) {
  base::Settings settings;
  settings.data_directory = data;
  settings.database.url = database_url();
  settings.database.pool_size = 4;
  settings.database.statement_timeout_ms = 5000;
  settings.redis.socket = redis_address().socket;
  settings.redis.timeout_ms = 1000;
  settings.gateway.address = "127.0.0.1";
  settings.gateway.port = 0;
  settings.gateway.io_threads = 2;
  settings.gateway.blocking_threads = 4;
  settings.gateway.storage_threads = 4;
  settings.gateway.storage_timeout_seconds = 10;
  settings.gateway.max_connections = 200;
  settings.gateway.max_upload_bytes = 1 << 20;
  settings.gateway.max_json_bytes = 64 * 1024;
  settings.gateway.header_timeout_seconds = 10;
  settings.gateway.idle_timeout_seconds = 30;
  settings.gateway.request_timeout_seconds = 10;
  settings.gateway.drain_seconds = 10;
  settings.gateway.generation_seconds = 10;
  settings.gateway.max_generations = 8;
  settings.gateway.requests_per_minute_per_key = 100'000;
  settings.gateway.requests_per_minute_per_project = 100'000;
  settings.gateway.tokens_per_minute_per_project = 1'000'000;
  settings.gateway.limits_timeout_ms = 1000;
  return settings;
}

}  // namespace

RunningGateway::RunningGateway(const std::function<void(base::Settings&)>& change) : RunningGateway(change, objects::open_store) {}

RunningGateway::RunningGateway(const std::function<void(base::Settings&)>& change,
                               const std::function<std::unique_ptr<objects::ObjectStore>(const base::Settings&)>& open)
    : data_(fs::temp_directory_path() / base::make_id("gateway-test")) {
  fs::create_directories(data_);
  base::Settings settings = test_settings(data_);
  if (change) change(settings);
  gateway_.emplace(settings, open(settings));
  thread_ = std::jthread([this](std::stop_token stop) { drained_ = gateway_->serve(stop); });
}

RunningGateway::~RunningGateway() {
  wait();
  gateway_.reset();
  fs::remove_all(data_);
}

bool RunningGateway::wait() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
  return drained_;
}

std::size_t RunningGateway::stored_objects() const {
  std::size_t files = 0;
  for (const auto& entry : fs::recursive_directory_iterator(data_ / "objects")) files += entry.is_regular_file();
  return files;
}

Tenant make_tenant() {
  Tenant tenant;
  tenant.project = make_project(pool());
  pool().transact(postgres::Scope::system(), [&](postgres::Transaction& tx) {
    storage::KeyStore keys(tx);
    tenant.key = keys.create_project_key(tenant.project.id, "test").secret;
    tenant.admin_key = keys.create_admin_key(tenant.project.organization_id, "test").secret;
  });
  return tenant;
}

Answer GatewayTest::send(const std::string& method, const std::string& path, const std::string& body,
                         std::vector<std::string> headers) {
  Call request;
  request.method = method;
  request.path = path;
  request.key = tenant_.key;
  request.body = body;
  request.headers = std::move(headers);
  return call(gateway_->port(), request);
}

Answer GatewayTest::send_as(const std::string& key, const std::string& method, const std::string& path,
                            const std::string& body) {
  Call request;
  request.method = method;
  request.path = path;
  request.key = key;
  request.body = body;
  return call(gateway_->port(), request);
}

Answer GatewayTest::post_multipart(const std::string& body) {
  Call request;
  request.method = "POST";
  request.path = "/v1/files";
  request.key = tenant_.key;
  request.body = body;
  request.content_type = kMultipart;
  return call(gateway_->port(), request);
}

std::string GatewayTest::upload(const std::string& content, const std::string& purpose) {
  const Answer answer = post_multipart(multipart({field_part("purpose", purpose), file_part("train.jsonl", content)}));
  EXPECT_EQ(answer.status, 200) << answer.body;
  const auto file = answer.json();
  return std::string(file.at("id").as_string());
}

}  // namespace finetuned::tests
