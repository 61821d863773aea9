#include "services/gateway/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"

namespace finetuned::gateway {
namespace {

Handler answering(int status) {
  return [status](const Request&) {
    Response response;
    response.status = status;
    return response;
  };
}

class RouterTest : public testing::Test {
 protected:
  RouterTest() {
    router_.add("GET", "/v1/jobs/{id}", Access::kProject, answering(1));
    router_.add("POST", "/v1/jobs/quote", Access::kProject, answering(2));
    router_.add("GET", "/v1/jobs", Access::kProject, answering(3));
    router_.add("GET", "/v1/jobs/{id}/events/{event}", Access::kAdmin, answering(4));
    router_.add("DELETE", "/v1/jobs/{id}", Access::kProject, answering(5));
  }
  const Route& find(const std::string& method, std::vector<std::string> segments) {
    request_ = Request();
    request_.method = method;
    request_.segments = std::move(segments);
    return router_.find(request_);
  }
  int status_of(const std::string& method, std::vector<std::string> segments) {
    try {
      return find(method, std::move(segments)).handler(request_).status;
    } catch (const base::ApiError& error) {
      return error.status;
    }
  }
  Router router_{1024};
  Request request_;
};

TEST_F(RouterTest, FindsByMethodAndTemplate) {
  EXPECT_EQ(status_of("GET", {"v1", "jobs"}), 3);
  EXPECT_EQ(status_of("GET", {"v1", "jobs", "a/b"}), 1);
  EXPECT_THAT(request_.params, testing::ElementsAre("a/b"));
  EXPECT_EQ(find("GET", {"v1", "jobs", "x", "events", "y"}).access, Access::kAdmin);
  EXPECT_THAT(request_.params, testing::ElementsAre("x", "y"));
  EXPECT_EQ(find("GET", {"v1", "jobs"}).most_body_bytes, 1024u);
}

TEST_F(RouterTest, LiteralSegmentsWin) {
  EXPECT_EQ(status_of("POST", {"v1", "jobs", "quote"}), 2);
  EXPECT_EQ(status_of("GET", {"v1", "jobs", "quote"}), 1);
}

TEST_F(RouterTest, HeadIsAnsweredWhereGetIs) {
  EXPECT_EQ(status_of("HEAD", {"v1", "jobs"}), 3);
  EXPECT_EQ(status_of("HEAD", {"v1", "jobs", "a"}), 1);
  EXPECT_THAT(request_.params, testing::ElementsAre("a"));
  EXPECT_EQ(status_of("HEAD", {"v1", "nothing"}), 404);
  router_.add("POST", "/v1/files", Access::kProject, answering(6));
  EXPECT_EQ(status_of("HEAD", {"v1", "files"}), 405);
  EXPECT_EQ(router_.allowed({"v1", "jobs", "a"}), "GET, HEAD, DELETE");
  EXPECT_EQ(router_.allowed({"v1", "files"}), "POST");
  EXPECT_EQ(router_.allowed({"v1", "nothing"}), "");
}

TEST_F(RouterTest, TellsItsRoutes) {
  std::vector<std::string> told;
  for (const auto& route : router_.routes()) told.push_back(route->method + " " + route->path_template);
  EXPECT_THAT(told, testing::ElementsAre("POST /v1/jobs/quote", "GET /v1/jobs", "GET /v1/jobs/{id}", "DELETE /v1/jobs/{id}",
                                         "GET /v1/jobs/{id}/events/{event}"));
}

TEST_F(RouterTest, ShowsThePathThatIsNotThere) {
  const auto message = [&](std::vector<std::string> segments) -> std::string {
    try {
      find("GET", std::move(segments));
    } catch (const base::ApiError& error) {
      return error.what();
    }
    return "found";
  };
  EXPECT_THAT(message({"v1", "jbos"}), testing::HasSubstr("GET /v1/jbos."));
  EXPECT_THAT(message({}), testing::HasSubstr("GET /."));
  const std::string long_one = message({std::string(198, 'a') + "\xC3\xA9" + std::string(900, 'b')});  // cut within the last letter
  EXPECT_THAT(long_one, testing::HasSubstr(std::string(198, 'a') + "..."));
}

TEST_F(RouterTest, AnswersUnknownPathsAndMethods) {
  EXPECT_EQ(status_of("GET", {"v1"}), 404);
  EXPECT_EQ(status_of("GET", {}), 404);
  EXPECT_EQ(status_of("GET", {"v1", "jobs", "x", "nothing"}), 404);
  EXPECT_EQ(status_of("PUT", {"v1", "jobs", "x"}), 405);
  try {
    find("PUT", {"v1", "jobs", "x"});
  } catch (const base::ApiError& error) {
    EXPECT_THAT(error.what(), testing::AllOf(testing::HasSubstr("GET"), testing::HasSubstr("DELETE")));
  }
}

}  // namespace
}  // namespace finetuned::gateway
