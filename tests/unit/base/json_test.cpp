#include "base/json.h"

#include <gtest/gtest.h>

#include "tests/json_cases/refused.h"

namespace finetuned::base {
namespace {

std::string fault_of(std::string_view text, const JsonLimits& limits = {}) {
  try {
    parse_json(text, limits);
  } catch (const JsonError& error) {
    return error.what();
  }
  return "accepted";
}

TEST(StrictJson, ReadsEveryKindOfValue) {
  const json::value value =
      parse_json(R"({"a":[1,-2,3.5,true,false,null,"x\ny",{"b":{}}],"c":"\u00e9","d":9223372036854775807})");
  const json::array& array = value.at("a").as_array();
  EXPECT_EQ(array.at(0).as_int64(), 1);
  EXPECT_EQ(array.at(1).as_int64(), -2);
  EXPECT_EQ(array.at(2).as_double(), 3.5);
  EXPECT_TRUE(array.at(5).is_null());
  EXPECT_EQ(array.at(6).as_string(), "x\ny");
  EXPECT_TRUE(array.at(7).at("b").as_object().empty());
  EXPECT_EQ(value.at("c").as_string(), "é");
  EXPECT_EQ(value.at("d").as_int64(), INT64_MAX);
}

TEST(StrictJson, KeepsManyKeysAndNestedArraysApart) {
  std::string text = "{";
  for (int i = 0; i < 500; ++i) text += (i ? ",\"k" : "\"k") + std::to_string(i) + "\":[" + std::to_string(i) + ",[{}]]";
  const json::value value = parse_json(text + "}");
  ASSERT_EQ(value.as_object().size(), 500u);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(value.at("k" + std::to_string(i)).at(0).as_int64(), i);
}

TEST(StrictJson, RefusesWhatBoostLetsThrough) {
  EXPECT_NE(fault_of(R"({"a":1,"a":2})").find("twice"), std::string::npos);
  EXPECT_NE(fault_of("9223372036854775808").find("beyond"), std::string::npos);
  EXPECT_NE(fault_of("[123456789012345678901234567890]").find("beyond"), std::string::npos);
  EXPECT_NE(fault_of("[-123456789012345678901234567890]").find("beyond"), std::string::npos);
  EXPECT_NE(fault_of("1e999"), "accepted");
  EXPECT_NE(fault_of(R"("a\u0000b")").find("u0000"), std::string::npos);
  EXPECT_NE(fault_of(R"({"a\u0000b":1})").find("u0000"), std::string::npos);
  EXPECT_EQ(parse_json(R"("a\u0000b")", {.nul = true}).as_string(), std::string("a\0b", 3));
}

TEST(StrictJson, RefusesBrokenTextAndSaysWhere) {
  for (const char* bad : {"", "{", "[1,]", "{\"a\"}", "nul", "1 2", "{} x", "'a'", "\"\xff\"", "[1"})
    EXPECT_NE(fault_of(bad), "accepted") << bad;
  EXPECT_EQ(fault_of("{}  \r\n"), "accepted");
}

TEST(StrictJson, RefusesWhatLenientReadersTake) {
  ASSERT_GT(tests::refused_json().size(), 60u);
  for (const auto& bad : tests::refused_json())
    EXPECT_NE(fault_of(bad.text).find(bad.why), std::string::npos) << bad.name << ": " << fault_of(bad.text);
}

TEST(StrictJson, HoldsItsLimits) {
  EXPECT_NE(fault_of(std::string(33, '[') + std::string(33, ']')).find("deeper"), std::string::npos);
  EXPECT_EQ(fault_of(std::string(32, '[') + std::string(32, ']')), "accepted");
  EXPECT_NE(fault_of("\"" + std::string(200, 'x') + "\"", {.depth = 32, .bytes = 100}).find("larger"), std::string::npos);
}

}  // namespace
}  // namespace finetuned::base
