#include "services/gateway/openapi.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/json/serialize.hpp>
#include <filesystem>
#include <set>

#include "base/base64.h"
#include "base/ids.h"
#include "base/sealing.h"
#include "services/gateway/forecasts.h"
#include "services/gateway/generation.h"
#include "services/gateway/job_creations.h"
#include "services/gateway/job_reads.h"
#include "services/gateway/key_cache.h"
#include "services/gateway/metrics.h"
#include "services/gateway/object_calls.h"
#include "services/gateway/openapi_routes.h"
#include "services/gateway/openapi_schemas.h"
#include "services/gateway/rate_limiter.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/socket_threads.h"
#include "storage/objects/local_store.h"
#include "storage/postgres/pool.h"
#include "storage/redis/client.h"

namespace finetuned::gateway {
namespace {

namespace json = base::json;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t kMostJsonBytes = 12'345;

/// Every route that a gateway has, on a platform that is not there: nothing connects before a request.
class OpenApiTest : public testing::Test {
 protected:
  ~OpenApiTest() override { std::filesystem::remove_all(directory_); }

  std::set<std::string> routes() const {
    std::set<std::string> names;
    for (const auto& route : router_.routes()) names.insert(route->method + " " + route->path_template);
    return names;
  }
  const json::object& operation(std::string_view path, std::string_view method) const {
    return document_.at("paths").at(path).at(method).as_object();
  }
  json::object schema(std::string_view name) const { return document_.at("components").at("schemas").at(name).as_object(); }

  const std::filesystem::path directory_ = std::filesystem::temp_directory_path() / base::make_id("openapi-test");
  base::SystemClock clock_;
  postgres::Pool database_{{}};
  redis::Client redis_{{}};
  objects::LocalStore objects_{directory_};
  ObjectCalls object_calls_{1, 1, {std::chrono::seconds(1), std::chrono::seconds(1)}};
  base::SealingKey webhooks_key_ = base::SealingKey::from_base64(base::base64_encode(base::random_bytes(base::SealingKey::kBytes)));
  inference::Directory directory_of_workers_{redis_};
  Generations generations_{directory_of_workers_, 8, std::chrono::seconds(1)};
  KeyCache keys_{clock_};
  RateLimiter limiter_{{}, clock_};
  Metrics metrics_;
  base::BlockingPool pool_{1, 1};  // begins nothing
  Forecasts forecasts_;
  SocketThreads threads_{1};
  JobReads job_reads_{database_, "", forecasts_, pool_, threads_};
  JobCreations job_creations_{platform_, pool_};
  Platform platform_{database_, redis_, objects_, object_calls_, 1 << 20, webhooks_key_, generations_, keys_, limiter_, {}, metrics_, forecasts_,
                     job_reads_, job_creations_};
  Router router_ = make_router(platform_, kMostJsonBytes);
  json::object document_ = openapi_document(router_);
};

TEST_F(OpenApiTest, DescribesEachRouteAndNoneElse) {
  const std::set<std::string> routes = this->routes();
  std::set<std::string> described, twice;
  for (const OperationGroup& group : operation_groups())
    for (const Operation& operation : group.operations) {
      const std::string name = std::string(operation.method) + " " + std::string(operation.path);
      if (!described.insert(name).second) twice.insert(name);
    }
  std::vector<std::string> undescribed, unknown;
  std::set_difference(routes.begin(), routes.end(), described.begin(), described.end(), std::back_inserter(undescribed));
  std::set_difference(described.begin(), described.end(), routes.begin(), routes.end(), std::back_inserter(unknown));
  EXPECT_THAT(undescribed, IsEmpty()) << "each wants a line in services/gateway/openapi_routes.cpp";
  EXPECT_THAT(unknown, IsEmpty()) << "lines of services/gateway/openapi_routes.cpp without a route";
  EXPECT_THAT(twice, IsEmpty());
  EXPECT_GT(routes.size(), 80u);
}

TEST_F(OpenApiTest, GivesEachOperationAnIdAndAnAnswer) {
  std::set<std::string_view> ids;
  for (const OperationGroup& group : operation_groups())
    for (const Operation& operation : group.operations) {
      EXPECT_TRUE(ids.insert(operation.id).second) << operation.id << " is there twice";
      const Exchange& exchange = operation.exchange;
      EXPECT_TRUE(!exchange.answer.empty() || !exchange.events.empty() || !exchange.media.empty()) << operation.id;
      EXPECT_TRUE(exchange.body.empty() || exchange.form.empty()) << operation.id;
    }
}

TEST_F(OpenApiTest, NamesEachSchemaOnceAndUsesAll) {
  const std::string text = json::serialize(document_);
  std::set<std::string> names;
  for (const auto types : {project_types(), admin_types()})
    for (const NamedType& type : types) {
      EXPECT_TRUE(names.insert(std::string(type.name)).second) << type.name;
      const bool spread = type.name == "List" || type.name == "Page" || type.name == "Bucket" || type.name == "Losses" ||
                          type.name == "Sampling" || type.name == "RoleFields";
      const bool used = text.find("\"#/components/schemas/" + std::string(type.name) + "\"") != std::string::npos;
      EXPECT_NE(used, spread) << type.name;
    }
  const std::string mark = "#/components/schemas/";
  for (auto at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
    const auto begin = at + mark.size();
    const std::string name = text.substr(begin, text.find('"', begin) - begin);
    EXPECT_TRUE(names.contains(name)) << name;
  }
}

TEST_F(OpenApiTest, TakesFromTheRouterWhatItKnows) {
  const json::object& quotas = operation("/v1/organization/projects/{project_id}/quotas", "put");
  EXPECT_EQ(json::serialize(quotas.at("security")), R"([{"admin_key":[]}])");
  EXPECT_EQ(json::serialize(quotas.at("parameters")),
            R"([{"name":"project_id","in":"path","required":true,"schema":{"type":"string"}}])");
  EXPECT_EQ(quotas.at("requestBody").at("description"), "At most 12345 bytes.");
  EXPECT_EQ(json::serialize(operation("/v1/models", "get").at("security")), R"([{"project_key":[]}])");
  EXPECT_EQ(json::serialize(operation("/healthz", "get").at("security")), "[]");
  std::vector<std::string> statuses;
  for (const auto& [status, response] : operation("/v1/files/{file_id}/content", "get").at("responses").as_object())
    statuses.emplace_back(status);
  EXPECT_THAT(statuses, ElementsAre("200", "206", "304", "400", "401", "403", "404", "416", "429", "default"));
}

TEST_F(OpenApiTest, TellsParametersAndSchemas) {
  const auto headers = [&](std::string_view path, std::string_view method) {
    std::vector<std::string> names;
    for (const json::value& one : operation(path, method).at("parameters").as_array())
      if (one.at("in") == "header") names.emplace_back(one.at("name").as_string());
    return names;
  };
  EXPECT_THAT(headers("/v1/fine_tuning/jobs", "post"), ElementsAre("Idempotency-Key"));
  EXPECT_THAT(headers("/v1/files/{file_id}/content", "get"), ElementsAre("If-None-Match", "Range", "If-Range"));
  EXPECT_THAT(headers("/v1/fine_tuning/jobs/{fine_tuning_job_id}/stream", "get"), ElementsAre("Last-Event-ID"));
  const json::array& parameters = operation("/v1/fine_tuning/jobs", "get").at("parameters").as_array();
  EXPECT_EQ(parameters.at(3).at("name"), "metadata");
  EXPECT_EQ(parameters.at(3).at("style"), "deepObject");
  EXPECT_EQ(schema("FileList").at("properties").as_object().size(), 5u);
  EXPECT_EQ(json::serialize(schema("Losses").at("required")), R"(["train_loss","train_mean_token_accuracy"])");
}

std::string typed(std::string_view type) {
  static constexpr NamedType known[] = {{"Thing", "{a: string; b?: 1..5}"}};
  return json::serialize(type_schema(type, known));
}

TEST(OpenApiTypesTest, ReadsTheNotation) {
  EXPECT_EQ(typed("string"), R"({"type":"string"})");
  EXPECT_EQ(typed("string | null"), R"({"type":["string","null"]})");
  EXPECT_EQ(typed("'a' | 'b'"), R"({"type":"string","enum":["a","b"]})");
  EXPECT_EQ(typed("'a' | null"), R"({"type":["string","null"],"enum":["a",null]})");
  EXPECT_EQ(typed("Thing | null"), R"({"anyOf":[{"$ref":"#/components/schemas/Thing"},{"type":"null"}]})");
  EXPECT_EQ(typed("Thing[][]"), R"({"type":"array","items":{"type":"array","items":{"$ref":"#/components/schemas/Thing"}}})");
  EXPECT_EQ(typed("('a' | integer)[]"), R"({"type":"array","items":{"anyOf":[{"type":"integer"},{"type":"string","enum":["a"]}]}})");
  EXPECT_EQ(typed("1..100"), R"({"type":"integer","minimum":1,"maximum":100})");
  EXPECT_EQ(typed("any"), "{}");
  EXPECT_EQ(typed("null"), R"({"type":"null"})");
  EXPECT_EQ(typed("{}"), R"({"type":"object"})");
  EXPECT_EQ(typed("{...Thing; 'c[]': null; [key]: never}"),
            R"({"type":"object","properties":{"a":{"type":"string"},"b":{"type":"integer","minimum":1,"maximum":5},)"
            R"("c[]":{"type":"null"}},"required":["a","c[]"],"additionalProperties":false})");
  EXPECT_EQ(typed("{[key]: number}"), R"({"type":"object","additionalProperties":{"type":"number"}})");
}

TEST(OpenApiTypesDeathTest, AbortsOnWhatIsNoType) {
  for (const char* text : {"", "text", "'a", "{a string}", "{a: string", "string |", "{a: null; a: null}", "{...Other}", "1..", "[]", "string x"})
    EXPECT_DEATH(typed(text), "at character") << text;
}

}  // namespace
}  // namespace finetuned::gateway
