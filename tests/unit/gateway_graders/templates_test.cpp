#include "services/gateway/graders/templates.h"

#include <gtest/gtest.h>

#include "base/errors.h"
#include "services/gateway/graders/failure.h"

namespace finetuned::graders {
namespace {

Sample sample(const std::string& item, const std::string& output = "out") { return {base::parse_json(item).as_object(), output}; }

std::string rendered(const std::string& text, const Sample& with) { return Template(text, "grader.input").render(with); }

std::string refused(const std::string& text) {
  try {
    Template(text, "grader.input");
  } catch (const base::ApiError& error) {
    EXPECT_EQ(error.code, "invalid_template");
    EXPECT_EQ(error.param, "grader.input");
    return error.what();
  }
  return "accepted";
}

std::string failed(const std::string& text, const Sample& with, FailureKind kind) {
  try {
    return "rendered " + rendered(text, with);
  } catch (const GradingFailure& failure) {
    EXPECT_EQ(failure.kind, kind) << failure.what();
    return failure.what();
  }
}

TEST(Templates, PutValuesIn) {
  const Sample with = sample(R"({"a":"x","b":{"c":["p",{"d":"q"}]},"né":"ü","with-dash":"w"})", R"({"k":{"n":[1,2]},"t":"s"})");
  EXPECT_EQ(rendered("", with), "");
  EXPECT_EQ(rendered("no braces { } }} {", with), "no braces { } }} {");
  EXPECT_EQ(rendered("{{item.a}}", with), "x");
  EXPECT_EQ(rendered("<{{ item.a }}{{item.b.c[0]}}>{{\titem.b.c[1].d\n}}", with), "<xp>q");
  EXPECT_EQ(rendered("{{item.né}}{{item.with-dash}}", with), "üw");
  EXPECT_EQ(rendered("{{sample.output_json.t}} {{sample.output_json.k.n[1]}}", with), "s 2");
  EXPECT_EQ(rendered("{{sample.output_text}}", with), R"({"k":{"n":[1,2]},"t":"s"})");
  EXPECT_EQ(rendered("{{sample.output_json}}", with), R"({"k": {"n": [1, 2]}, "t": "s"})");
  EXPECT_EQ(rendered("{{sample.output_json[1]}}", sample("{}", "[1, 2.5]")), "2.5");
}

TEST(Templates, ShowOtherValuesAsJson) {
  const Sample with = sample(R"({"n":null,"t":true,"i":-7,"d":1.5,"s":0.1,"e":1e30,"l":[1.5,"a\"b",{}],"o":{"k":[]}})");
  EXPECT_EQ(rendered("{{item.n}} {{item.t}} {{item.i}} {{item.d}} {{item.s}} {{item.e}}", with), "null true -7 1.5 0.1 1e+30");
  EXPECT_EQ(rendered("{{item.l}} {{item.o}}", with), R"([1.5, "a\"b", {}] {"k": []})");
}

TEST(Templates, WhatIsPutInIsNoTemplate) {
  EXPECT_EQ(rendered("{{item.a}}{{item.b}}", sample(R"({"a":"{{item.b}}","b":"{{"})")), "{{item.b}}{{");
  EXPECT_EQ(rendered("{{sample.output_text}}", sample("{}", "{{item.secret}}")), "{{item.secret}}");
}

TEST(Templates, RefuseWhatCanNeverBe) {
  for (const char* text : {"{{", "a {{item.a", "{{}}", "{{ }}", "{{item}}", "{{item.}}", "{{item..a}}", "{{item.a.}}", "{{item.a[}}",
                           "{{item.a[]}}", "{{item.a[x]}}", "{{item.a[-1]}}", "{{item.a[1}}", "{{item.a[99999999999999999999]}}",
                           "{{item[0]}}", "{{item.a b}}", "{{item.a|upper}}{{", "{{sample}}", "{{sample.output}}", "{{sample.choices[0]}}",
                           "{{sample.output_tools}}", "{{sample.output_text.x}}", "{{sample.output_text[0]}}", "{{env.HOME}}",
                           "{{self.__class__}}", "{{1+1}}", "{{{item.a}}}", "{{item.a{{item.b}}}}"})
    EXPECT_NE(refused(text), "accepted") << text;
  EXPECT_NE(refused("{{other.a}}").find("namespaces are item and sample"), std::string::npos);
  EXPECT_NE(refused("x {{sample.foo}}").find("{{sample.foo}}"), std::string::npos);
}

TEST(Templates, AreBound) {
  std::string many;
  for (std::size_t i = 0; i < kMostVariables; ++i) many += "{{item.a}}";
  EXPECT_EQ(refused(many), "accepted");
  EXPECT_NE(refused(many + "{{item.a}}").find("at most 64 variables"), std::string::npos);
  EXPECT_EQ(refused(std::string(kMostTemplateBytes, 'x')), "accepted");
  EXPECT_NE(refused(std::string(kMostTemplateBytes + 1, 'x')).find("at most 16384 bytes"), std::string::npos);
  std::string deep = "item.a";
  for (std::size_t i = 0; i < kMostVariableSteps; ++i) deep += ".a";
  EXPECT_NE(refused("{{" + deep + "}}").find("at most 16 steps"), std::string::npos);
  EXPECT_NE(refused("{{item." + std::string(300, 'a') + "}}").find("at most 256 bytes"), std::string::npos);
  const Sample big = sample("{}", std::string(kMostRenderedBytes / 2 + 1, 'x'));
  EXPECT_EQ(rendered("{{sample.output_text}}", big).size(), kMostRenderedBytes / 2 + 1);
  EXPECT_NE(failed("{{sample.output_text}}{{sample.output_text}}", big, FailureKind::kOther).find("262144"), std::string::npos);
}

TEST(Templates, NamesThatAreNotThereEndTheGrading) {
  const Sample with = sample(R"({"a":"x","l":[1]})", R"({"k":1})");
  EXPECT_EQ(failed("{{item.b}}", with, FailureKind::kInvalidVariable), "{{item.b}}: the item has no 'b'");
  EXPECT_EQ(failed("{{item.a.b}}", with, FailureKind::kInvalidVariable), "{{item.a.b}}: there is no 'b'");
  EXPECT_EQ(failed("{{item.l[1]}}", with, FailureKind::kInvalidVariable), "{{item.l[1]}}: there is no element 1");
  EXPECT_EQ(failed("{{item.l.x}}", with, FailureKind::kInvalidVariable), "{{item.l.x}}: there is no 'x'");
  EXPECT_EQ(failed("{{item.a[0]}}", with, FailureKind::kInvalidVariable), "{{item.a[0]}}: there is no element 0");
  EXPECT_EQ(failed("{{sample.output_json.z}}", with, FailureKind::kInvalidVariable), "{{sample.output_json.z}}: there is no 'z'");
}

TEST(Templates, AnOutputThatIsNoJsonIsSaidSo) {
  for (const std::string& output : {std::string("plain"), std::string(""), std::string("{\"a\":"), std::string(100, '['),
                                    std::string("{\"a\":1,\"a\":2}"), std::string("NaN")})
    EXPECT_NE(failed("{{sample.output_json.a}}", sample("{}", output), FailureKind::kSampleParse).find("not acceptable JSON"),
              std::string::npos) << output;
}

}  // namespace
}  // namespace finetuned::graders
