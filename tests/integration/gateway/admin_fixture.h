#pragma once

#include <string>
#include <vector>

#include "tests/integration/gateway/running_gateway.h"

namespace finetuned::tests {

/// Requests under /v1/organization with the tenant's admin key.
class AdminTest : public GatewayTest {
 protected:
  Answer admin(const std::string& method, const std::string& path, const std::string& body = "") {
    return send_as(tenant_.admin_key, method, "/v1/organization" + path, body);
  }

  /// The answer's body; fails the test where it is not a 200.
  base::json::value done(const std::string& method, const std::string& path, const std::string& body = "") {
    const Answer answer = admin(method, path, body);
    EXPECT_EQ(answer.status, 200) << method << " " << path << ": " << answer.body;
    return answer.status == 200 ? answer.json() : base::json::value(base::json::object());
  }

  /// Path of the tenant's project.
  std::string project(const std::string& below = "") const { return "/projects/" + tenant_.project.id + below; }

  /// Whether the key opens a project's URL.
  int status_with(const std::string& key) { return send_as(key, "GET", "/v1/models").status; }

  /// Each of these bodies is answered by 400 with this param, and changes nothing that `path` shows.
  void expect_refused(const std::string& method, const std::string& path, const std::string& param,
                      const std::vector<std::string>& bodies) {
    for (const std::string& body : bodies) {
      const Answer answer = admin(method, path, body);
      EXPECT_EQ(answer.status, 400) << body << ": " << answer.body;
      EXPECT_EQ(answer.param(), param) << body << ": " << answer.body;
    }
  }

  std::vector<std::string> ids(const base::json::value& list) {
    std::vector<std::string> all;
    for (const auto& one : list.at("data").as_array()) all.push_back(text(one.at("id")));
    return all;
  }

  /// The types of the organization's audit entries, oldest first.
  std::vector<std::string> audited() {
    const base::json::value log = done("GET", "/audit_logs?limit=100&order=asc");
    std::vector<std::string> types;
    for (const auto& entry : log.at("data").as_array()) types.push_back(text(entry.at("type")));
    return types;
  }
};

}  // namespace finetuned::tests
