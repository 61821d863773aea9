#include "services/gateway/usage_request.h"

#include <gtest/gtest.h>

#include "base/errors.h"

namespace finetuned::gateway {
namespace {

constexpr std::int64_t kMidnight = 1'700'006'400;  // of a day in UTC
constexpr std::int64_t kDay = 86400;

UsagePage page_of(StringPairs query, std::int64_t now = kMidnight) {
  Request request;
  request.query = std::move(query);
  return read_usage_page(request, now);
}

std::string refused(StringPairs query) {
  try {
    page_of(std::move(query));
  } catch (const base::ApiError& error) {
    EXPECT_EQ(error.status, 400);
    return error.param.value_or("");
  }
  return "accepted";
}

std::string at(std::int64_t second) { return std::to_string(second); }

TEST(UsagePage, BucketsBeginAtMultiplesOfTheirWidth) {
  const auto page = page_of({{"start_time", at(kMidnight + 100)}, {"end_time", at(kMidnight + 2 * kDay + 5)}});
  EXPECT_EQ(page.starts, (std::vector<std::int64_t>{kMidnight + 100, kMidnight + kDay, kMidnight + 2 * kDay}));
  EXPECT_EQ(page.query.start, kMidnight + 100);
  EXPECT_EQ(page.query.end, kMidnight + 2 * kDay + 5);
  EXPECT_FALSE(page.has_more);
  const auto shape = usage_page_shape(page, {});
  EXPECT_EQ(shape.at("data").at(0).at("end_time"), kMidnight + kDay);
  EXPECT_EQ(shape.at("data").at(2).at("end_time"), kMidnight + 2 * kDay + 5);
  EXPECT_TRUE(shape.at("next_page").is_null());
}

TEST(UsagePage, EndsWithTheBucketThatRunsNow) {
  const auto page = page_of({{"start_time", at(kMidnight - kDay)}}, kMidnight + 7);
  EXPECT_EQ(page.starts, (std::vector<std::int64_t>{kMidnight - kDay, kMidnight}));
  EXPECT_EQ(page.query.end, kMidnight + kDay);
  const auto within = page_of({{"start_time", at(kMidnight + 5)}}, kMidnight + 7);
  EXPECT_EQ(within.starts, std::vector<std::int64_t>{kMidnight + 5});
  EXPECT_EQ(within.query.end, kMidnight + kDay);
}

TEST(UsagePage, PagesWithoutGapsOrRepeats) {
  StringPairs query{{"start_time", at(kMidnight + 61)}, {"end_time", at(kMidnight + 60 * 10)}, {"bucket_width", "1m"}, {"limit", "4"}};
  std::vector<std::int64_t> seen;
  for (int pages = 0; pages < 10; ++pages) {
    const auto page = page_of(query);
    seen.insert(seen.end(), page.starts.begin(), page.starts.end());
    const auto shape = usage_page_shape(page, {});
    EXPECT_EQ(shape.at("has_more"), page.has_more);
    if (!page.has_more) break;
    std::erase_if(query, [](const auto& pair) { return pair.first == "page"; });
    query.emplace_back("page", shape.at("next_page").as_string());
  }
  ASSERT_EQ(seen.size(), 9u);
  EXPECT_EQ(seen.front(), kMidnight + 61);
  for (std::size_t i = 1; i < seen.size(); ++i) EXPECT_EQ(seen[i], kMidnight + 60 * static_cast<std::int64_t>(i + 1));
}

TEST(UsagePage, HasOpenAisDefaultsAndFilters) {
  const auto page = page_of({{"start_time", "0"}, {"group_by[]", "model"}, {"group_by[]", "user_id"}, {"group_by", "api_key_id"},
                             {"models[]", "a"}, {"project_ids[]", "p"}, {"api_key_ids[]", "k"}});
  EXPECT_EQ(page.starts.size(), 7u);
  EXPECT_TRUE(page.has_more && page.query.by_model && page.query.by_api_key);
  EXPECT_FALSE(page.query.by_project || page.nothing);
  EXPECT_EQ(page.query.models, std::vector<std::string>{"a"});
  EXPECT_EQ(page.query.project_ids, std::vector<std::string>{"p"});
  EXPECT_EQ(page.query.api_key_ids, std::vector<std::string>{"k"});
  EXPECT_TRUE(page_of({{"start_time", "0"}, {"batch", "true"}}).nothing);
  EXPECT_TRUE(page_of({{"start_time", "0"}, {"user_ids[]", "u"}}).nothing);
}

TEST(UsagePage, PutsSumsIntoTheirBuckets) {
  const auto page = page_of({{"start_time", at(kMidnight + 5)}, {"end_time", at(kMidnight + 3 * kDay)}, {"group_by[]", "model"}});
  storage::UsageSum one;
  one.bucket = kMidnight;
  one.model = "a";
  one.prompt_tokens = 5;
  one.completion_tokens = 6;
  one.requests = 2;
  storage::UsageSum other = one;
  other.model = "b";
  storage::UsageSum later = one;
  later.bucket = kMidnight + 2 * kDay;
  const auto shape = usage_page_shape(page, {one, other, later});
  const auto& data = shape.at("data").as_array();
  ASSERT_EQ(data.size(), 3u);
  EXPECT_EQ(data[0].at("results").as_array().size(), 2u);
  EXPECT_TRUE(data[1].at("results").as_array().empty());
  EXPECT_EQ(data[2].at("results").as_array().size(), 1u);
  EXPECT_EQ(data[0].at("results").at(0),
            base::parse_json(R"({"object":"organization.usage.completions.result","input_tokens":5,"output_tokens":6,
              "num_model_requests":2,"input_cached_tokens":0,"input_audio_tokens":0,"output_audio_tokens":0,"project_id":null,
              "user_id":null,"api_key_id":null,"model":"a","batch":null,"service_tier":null})"));
}

TEST(UsagePage, NamesTheParameterAtFault) {
  EXPECT_EQ(refused({}), "start_time");
  EXPECT_EQ(refused({{"start_time", "yesterday"}}), "start_time");
  EXPECT_EQ(refused({{"start_time", "-1"}}), "start_time");
  EXPECT_EQ(refused({{"start_time", "10"}, {"end_time", "10"}}), "end_time");
  EXPECT_EQ(refused({{"start_time", "0"}, {"bucket_width", "1w"}}), "bucket_width");
  EXPECT_EQ(refused({{"start_time", "0"}, {"limit", "32"}}), "limit");
  EXPECT_EQ(refused({{"start_time", "0"}, {"limit", "0"}}), "limit");
  EXPECT_EQ(refused({{"start_time", "0"}, {"group_by[]", "mood"}}), "group_by");
  EXPECT_EQ(refused({{"start_time", "0"}, {"batch", "maybe"}}), "batch");
  for (const char* page : {"x", "page_", "page_1", "page_-86400", "page_999999999999"})
    EXPECT_EQ(refused({{"start_time", "0"}, {"page", page}}), "page") << page;
}

}  // namespace
}  // namespace finetuned::gateway
