#include <cstdlib>
#include <map>
#include <thread>

#include "billing/admission.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

/// The value of a line that begins with `series`; -1 where there is none.
double value_of(const std::string& text, const std::string& series) {
  const auto at = ("\n" + text).find("\n" + series + " ");
  return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + series.size() + 1, nullptr);
}

/// Each with a gateway of its own: its counters begin at 0.
class MetricsTest : public testing::Test {
 protected:
  Answer ask(const std::string& path, const std::string& key = "", std::vector<std::string> headers = {}) {
    Call request;
    request.path = path;
    request.key = key;
    request.headers = std::move(headers);
    return call(gateway_->port(), request);
  }
  std::string scrape() {
    const Answer answer = ask("/metrics");
    EXPECT_EQ(answer.status, 200) << answer.body;
    return answer.body;
  }

  Tenant tenant_ = make_tenant();
  std::optional<RunningGateway> gateway_{std::in_place};
};

TEST_F(MetricsTest, RequestsAreCountedByRouteAndStatus) {
  EXPECT_EQ(ask("/v1/models", tenant_.key).status, 200);
  for (const char* id : {"a", "b", "c"})
    EXPECT_EQ(ask("/v1/files/" + std::string(id), tenant_.key).status, 404);
  EXPECT_EQ(ask("/v1/files/a", "sk-wrong").status, 401);
  for (const char* path : {"/nowhere", "/else/where"}) EXPECT_EQ(ask(path).status, 404);
  const Answer answer = ask("/metrics");
  EXPECT_EQ(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
  const std::string& text = answer.body;
  const std::string requests = "finetuned_http_requests_total", file = R"(method="GET",route="/v1/files/{file_id}")";
  EXPECT_EQ(value_of(text, requests + R"({method="GET",route="/v1/models",status="200"})"), 1) << text;
  EXPECT_EQ(value_of(text, requests + "{" + file + R"(,status="404"})"), 3) << text;
  EXPECT_EQ(value_of(text, requests + "{" + file + R"(,status="401"})"), 1) << text;
  EXPECT_EQ(value_of(text, requests + R"({method="other",route="none",status="404"})"), 2) << text;
  EXPECT_EQ(value_of(text, "finetuned_http_request_seconds_count{" + file + "}"), 4) << text;
  EXPECT_EQ(value_of(text, "finetuned_http_request_seconds_bucket{" + file + R"(,le="+Inf"})"), 4) << text;
  EXPECT_GT(value_of(text, "finetuned_http_request_seconds_sum{" + file + "}"), 0) << text;
  EXPECT_EQ(text.find("nowhere"), std::string::npos) << "no path of a client's becomes a label";
  EXPECT_EQ(value_of(text, "finetuned_http_requests_in_flight"), 1) << "the scrape itself: " << text;
}

TEST_F(MetricsTest, OpenConnectionsAreCountedWhileTheyAreOpen) {
  Wire first(gateway_->port()), second(gateway_->port());
  for (Wire* wire : {&first, &second}) {
    wire->send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    ASSERT_TRUE(wire->read());
  }
  EXPECT_EQ(value_of(scrape(), "finetuned_http_connections"), 3) << "two that idle, and the scrape's own";
  second.close();
  double left = 0;
  for (int i = 0; i < 200 && (left = value_of(scrape(), "finetuned_http_connections")) != 2; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(left, 2);
}

TEST_F(MetricsTest, WhatARateLimitRefusesIsCounted) {
  gateway_.reset();
  gateway_.emplace([](base::Settings& settings) { settings.gateway.requests_per_minute_per_key = 1; });
  EXPECT_EQ(value_of(scrape(), "finetuned_http_rate_limited_total"), 0);
  int refused = 0;
  for (int i = 0; i < 4; ++i) refused += ask("/v1/models", tenant_.key).status == 429;
  EXPECT_GE(refused, 1);
  EXPECT_EQ(value_of(scrape(), "finetuned_http_rate_limited_total"), refused);
}

TEST_F(MetricsTest, ThePlatformsFiguresComeFromTheDatabase) {
  const auto counted = [](const char* query) {
    return static_cast<double>(pool().transact(postgres::Scope::system(), [&](postgres::Transaction& tx) {
      return tx.execute(query).row(0).integer("n");
    }));
  };
  // How far each figure is from what we count: other tests leave holds that no job names.
  const auto beyond = [&](const std::string& text) {
    std::map<std::string, double> all;
    for (const auto& [series, query] :
         {std::pair{"finetuned_jobs_queued", "SELECT count(*) AS n FROM job WHERE state = 'queued'"},
          std::pair{"finetuned_jobs_running", "SELECT count(*) AS n FROM job WHERE state = 'running'"},
          std::pair{"finetuned_holds_open",
                    "SELECT count(*) AS n FROM transfer t WHERE kind = 'pending' AND NOT EXISTS (SELECT FROM transfer r WHERE"
                    " r.pending_id = t.id)"},
          std::pair{"finetuned_webhooks_outstanding", "SELECT count(*) AS n FROM webhook_delivery WHERE state = 'pending'"},
          std::pair{"finetuned_trained_tokens_total",
                    "SELECT coalesce(sum(t), 0)::bigint AS n FROM (SELECT max(tokens_cum) AS t FROM usage GROUP BY job_id) AS j"}})
      all[series] = value_of(text, series) - counted(query);
    return all;
  };
  const std::string empty = scrape();
  const auto before = beyond(empty);
  const auto base = make_base_model(pool());
  const auto file = make_counted_file(pool(), tenant_.project, base, {100, 200});
  give_credit(pool(), tenant_.project, 1'000'000'000);
  pool().transact(postgres::Scope::project(tenant_.project.id), [&](postgres::Transaction& tx) {
    billing::create_job(tx, new_job(tenant_.project, base, file));
  });
  gateway_.reset();
  gateway_.emplace();  // which remembers nothing
  const std::string text = scrape();
  EXPECT_EQ(beyond(text), before) << text;
  for (const char* series : {"finetuned_jobs_queued", "finetuned_holds_open"})
    EXPECT_EQ(value_of(text, series), value_of(empty, series) + 1) << series << "\n" << text;
  EXPECT_GE(value_of(text, "finetuned_jobs_queue_oldest_seconds"), 0);
  EXPECT_EQ(value_of(text, "finetuned_database_up"), 1);
}

TEST_F(MetricsTest, TheFiguresAreReadAtMostOnceInFiveSeconds) {
  const double before = value_of(scrape(), "finetuned_jobs_queued");
  const auto base = make_base_model(pool());
  const auto file = make_counted_file(pool(), tenant_.project, base, {100});
  give_credit(pool(), tenant_.project, 1'000'000'000);
  pool().transact(postgres::Scope::project(tenant_.project.id), [&](postgres::Transaction& tx) {
    billing::create_job(tx, new_job(tenant_.project, base, file));
  });
  EXPECT_EQ(value_of(scrape(), "finetuned_jobs_queued"), before) << "still the remembered figure";
  std::this_thread::sleep_for(std::chrono::milliseconds(5100));
  EXPECT_EQ(value_of(scrape(), "finetuned_jobs_queued"), before + 1);
}

TEST_F(MetricsTest, WithoutTheDatabaseTheTrafficIsStillShown) {
  gateway_.reset();
  gateway_.emplace([](base::Settings& settings) { settings.database.url = "host=127.0.0.1 port=1 dbname=none"; });
  const std::string text = scrape();
  EXPECT_EQ(value_of(text, "finetuned_database_up"), 0);
  EXPECT_EQ(value_of(text, "finetuned_jobs_queued"), -1) << "left out rather than wrong";
  EXPECT_EQ(value_of(text, "finetuned_http_connections"), 1);
}

TEST_F(MetricsTest, WhatAProxyForwardsNeedsAnAdminKey) {
  const std::vector<std::string> forwarded{"X-Forwarded-For: 192.0.2.1"};
  EXPECT_EQ(ask("/metrics", "", forwarded).code(), "missing_api_key");
  EXPECT_EQ(ask("/metrics", "sk-wrong", forwarded).code(), "invalid_api_key");
  EXPECT_EQ(ask("/metrics", tenant_.key, forwarded).code(), "insufficient_permissions");
  EXPECT_EQ(ask("/metrics", tenant_.admin_key, forwarded).status, 200);
  EXPECT_EQ(ask("/metrics", "sk-wrong").status, 401) << "a key that is sent is checked, from this machine too";
}

}  // namespace
}  // namespace finetuned::tests
