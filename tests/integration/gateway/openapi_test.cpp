#include <algorithm>
#include <cctype>
#include <regex>

#include "tests/integration/gateway/running_gateway.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;

class OpenApiTest : public testing::Test {
 protected:
  Answer ask(const std::string& method, const std::string& path, const std::string& key = "",
             std::vector<std::string> headers = {}) {
    Call request;
    request.method = method;
    request.path = path;
    request.key = key;
    request.headers = std::move(headers);
    return call(gateway_.port(), request);
  }
  RunningGateway gateway_;
};

TEST_F(OpenApiTest, IsServedWithoutAKeyAndOnlyWhereItIsNotKnown) {
  const Answer document = ask("GET", "/openapi.json");
  EXPECT_EQ(document.status, 200);
  EXPECT_EQ(document.header("content-type"), "application/json");
  EXPECT_EQ(ask("GET", "/v1/openapi.json").body, document.body);
  const std::string etag = document.header("etag");
  ASSERT_FALSE(etag.empty());
  const Answer known = ask("GET", "/openapi.json", "", {"If-None-Match: " + etag});
  EXPECT_EQ(known.status, 304);
  EXPECT_EQ(known.body, "");
  EXPECT_EQ(ask("GET", "/openapi.json", "", {"If-None-Match: \"another\""}).body, document.body);
}

TEST_F(OpenApiTest, NamesTheKeyThatOpensEachRoute) {
  const Tenant tenant = make_tenant();
  const json::value document = ask("GET", "/openapi.json").json();
  int refused = 0;
  for (const auto& [path, methods] : document.at("paths").as_object())
    for (const auto& [name, operation] : methods.as_object()) {
      const json::array& security = operation.at("security").as_array();
      if (security.empty()) {
        EXPECT_NE(ask("GET", path).status, 401) << path;
        continue;
      }
      std::string method(name), target(path);
      std::transform(method.begin(), method.end(), method.begin(), [](unsigned char c) { return std::toupper(c); });
      target = std::regex_replace(target, std::regex(R"(\{\w+\})"), "x");
      const bool for_admins = security[0].as_object().contains("admin_key");
      EXPECT_EQ(ask(method, target).code(), "missing_api_key") << method << " " << path;
      const Answer other = ask(method, target, for_admins ? tenant.key : tenant.admin_key);
      EXPECT_EQ(other.code(), "insufficient_permissions") << method << " " << path;
      ++refused;
      if (method != "GET") continue;
      const int status = ask(method, target, for_admins ? tenant.admin_key : tenant.key).status;
      EXPECT_TRUE(status == 200 || status == 400 || status == 404) << path << " answers " << status;
    }
  EXPECT_GT(refused, 80);
}

}  // namespace
}  // namespace finetuned::tests
