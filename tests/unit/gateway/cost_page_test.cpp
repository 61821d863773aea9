#include "services/gateway/cost_page.h"

#include <gtest/gtest.h>

#include "base/errors.h"
#include "base/json.h"

namespace finetuned::gateway {
namespace {

constexpr std::int64_t kDay = 86400, kNow = 20 * kDay + 5;

CostPage read(StringPairs query) {
  Request request;
  request.query = std::move(query);
  return read_cost_page(request, kNow);
}

TEST(CostPage, DecimalsHaveEveryDigit) {
  EXPECT_EQ(decimal("0", 9), "0");
  EXPECT_EQ(decimal("1", 9), "0.000000001");
  EXPECT_EQ(decimal("1000000000", 9), "1");
  EXPECT_EQ(decimal("10500000000", 9), "10.5");
  EXPECT_EQ(decimal("9223372036854775807123", 9), "9223372036854.775807123");
  EXPECT_EQ(decimal("1500", 3), "1.5");
}

TEST(CostPage, DaysBeginAtMidnightButTheFirst) {
  const CostPage page = read({{"start_time", std::to_string(17 * kDay + 9)}});
  EXPECT_EQ(page.starts, (std::vector<std::int64_t>{17 * kDay + 9, 18 * kDay, 19 * kDay, 20 * kDay}));
  EXPECT_EQ(page.query.end, 21 * kDay);
  EXPECT_FALSE(page.has_more);
}

TEST(CostPage, PagesFollowEachOther) {
  const StringPairs query{{"start_time", std::to_string(3 * kDay)}, {"end_time", std::to_string(6 * kDay + 1)}, {"limit", "2"}};
  const CostPage first = read(query);
  EXPECT_EQ(first.starts, (std::vector<std::int64_t>{3 * kDay, 4 * kDay}));
  const auto body = base::parse_json(cost_page_json(first, {}), {.depth = 8, .bytes = 4096});
  EXPECT_EQ(body.at("has_more"), true);
  auto next = query;
  next.emplace_back("page", std::string(body.at("next_page").as_string()));
  const CostPage second = read(next);
  EXPECT_EQ(second.starts, (std::vector<std::int64_t>{5 * kDay, 6 * kDay}));
  EXPECT_EQ(second.query.end, 6 * kDay + 1);
  EXPECT_TRUE(base::parse_json(cost_page_json(second, {}), {.depth = 8, .bytes = 4096}).at("next_page").is_null());
}

TEST(CostPage, SumsStandInTheirDays) {
  CostPage page = read({{"start_time", std::to_string(3 * kDay)}, {"end_time", std::to_string(5 * kDay)}});
  const std::string text = cost_page_json(page, {{.day = 4 * kDay, .project_id = "proj-1", .line_item = std::nullopt, .nano = "123456789012345678901", .points = "42", .tokens = "7"},
                                                 {.day = 4 * kDay, .project_id = "proj-2", .line_item = "a \"b\"", .nano = "0", .points = "0", .tokens = "7"}});
  EXPECT_NE(text.find(R"("value":123456789012.345678901,)"), std::string::npos) << text;
  const auto body = base::parse_json(text, {.depth = 8, .bytes = 4096});
  EXPECT_TRUE(body.at("data").at(0).at("results").as_array().empty());
  const auto& results = body.at("data").at(1).at("results");
  ASSERT_EQ(results.as_array().size(), 2u);
  EXPECT_EQ(results.at(0).at("project_id"), "proj-1");
  EXPECT_TRUE(results.at(0).at("quantity").is_null());
  EXPECT_TRUE(results.at(0).at("quantity_unit").is_null());
  EXPECT_EQ(results.at(1).at("line_item"), "a \"b\"");
  EXPECT_EQ(results.at(1).at("quantity_unit"), "1000_tokens");
}

TEST(CostPage, BadQueriesNameTheParameter) {
  const std::string start = std::to_string(3 * kDay), end = std::to_string(6 * kDay);
  const std::vector<std::pair<std::string, StringPairs>> bad{
      {"start_time", {}},
      {"start_time", {{"start_time", "x"}}},
      {"start_time", {{"start_time", "-1"}}},
      {"end_time", {{"start_time", start}, {"end_time", start}}},
      {"bucket_width", {{"start_time", start}, {"bucket_width", "1h"}}},
      {"limit", {{"start_time", start}, {"limit", "181"}}},
      {"limit", {{"start_time", start}, {"limit", "0"}}},
      {"group_by", {{"start_time", start}, {"group_by[]", "model"}}},
      {"page", {{"start_time", start}, {"end_time", end}, {"page", "page_" + end}}},
      {"page", {{"start_time", start}, {"end_time", end}, {"page", "page_" + std::to_string(4 * kDay + 1)}}},
      {"page", {{"start_time", start}, {"end_time", end}, {"page", "x"}}}};
  for (const auto& [param, query] : bad) {
    try {
      read(query);
      ADD_FAILURE() << param << " is taken";
    } catch (const base::ApiError& error) {
      EXPECT_EQ(error.status, 400);
      EXPECT_EQ(error.param, param);
    }
  }
}

}  // namespace
}  // namespace finetuned::gateway
