#include "services/gateway/render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <system_error>

#include "base/files.h"
#include "base/offload.h"

namespace finetuned::gateway {
namespace {

using testing::HasSubstr;
using testing::Not;

std::optional<std::string> header_of(const Response& response, const std::string& name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return std::nullopt;
}

template <class Error>
base::ApiError as_api(const Error& error) {
  return as_api_error(std::make_exception_ptr(error), "req-1");
}

TEST(RenderError, HasEveryKeyOfTheShape) {
  const auto response = render_error(base::bad_request("invalid_value", "No.", "limit"));
  EXPECT_EQ(response.status, 400);
  EXPECT_EQ(header_of(response, "content-type"), "application/json");
  EXPECT_EQ(header_of(response, "x-should-retry"), std::nullopt);
  EXPECT_EQ(response.body, R"({"error":{"message":"No.","type":"invalid_request_error","param":"limit","code":"invalid_value"}})");
  EXPECT_THAT(render_error(base::not_found("Gone.")).body, HasSubstr(R"("param":null)"));
}

TEST(RenderError, TellsClientsWhetherToTryAgain) {
  const auto quota = render_error(base::ApiError(429, "insufficient_quota", "insufficient_quota", "No money."));
  EXPECT_EQ(header_of(quota, "x-should-retry"), "false");
  EXPECT_EQ(header_of(quota, "retry-after"), std::nullopt);
  const auto away = render_error(base::unavailable("Away."));
  EXPECT_EQ(header_of(away, "x-should-retry"), "true");
  EXPECT_EQ(header_of(away, "retry-after"), "1");
  EXPECT_EQ(header_of(away, "retry-after-ms"), "1000");
  auto limited = base::ApiError(429, "requests", "rate_limit_exceeded", "Later.", std::nullopt, true);
  limited.retry_after = std::chrono::milliseconds(1001);
  EXPECT_EQ(header_of(render_error(limited), "retry-after"), "2");
  EXPECT_EQ(header_of(render_error(limited), "retry-after-ms"), "1001");
}

TEST(AsApiError, KnowsWhatCanGoWrong) {
  EXPECT_EQ(as_api(base::bad_request("a", "b")).status, 400);
  EXPECT_EQ(as_api(base::Overloaded()).status, 503);
  const auto full = std::error_code(ENOSPC, std::generic_category());
  EXPECT_EQ(as_api(base::FileError("write", "x", full)).status, 507);
  const auto broken = std::error_code(EIO, std::generic_category());
  EXPECT_EQ(as_api(base::FileError("write", "x", broken)).status, 503);
  const auto unknown = as_api(std::runtime_error("secret detail"));
  EXPECT_EQ(unknown.status, 500);
  EXPECT_THAT(unknown.what(), Not(HasSubstr("secret")));
  EXPECT_THAT(unknown.what(), HasSubstr("req-1"));
}

TEST(RenderHead, NeverLetsAValueEndItsLine) {
  Response response = json_response(base::json::object());
  response.headers.emplace_back("content-disposition", "attachment; filename=\"a\r\nx-evil: 1\"");
  AnswerContext context;
  context.request_id = "req-1";
  context.organization = "org";
  const std::string head = render_head(response, context);
  EXPECT_THAT(head, HasSubstr("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\ncontent-length: 2\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nx-request-id: req-1\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nopenai-organization: org\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nopenai-processing-ms: 0\r\n"));
  EXPECT_THAT(head, HasSubstr("\r\nopenai-version: 2020-10-01\r\n"));
  EXPECT_THAT(head, Not(HasSubstr("\r\nx-evil")));
}

}  // namespace
}  // namespace finetuned::gateway
