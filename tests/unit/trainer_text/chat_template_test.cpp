#include "trainer/text/chat_template.h"

#include <chrono>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/errors.h"
#include "scratch_model.h"

namespace finetuned::text {
namespace {

using ::testing::HasSubstr;

RenderInput input() {
  RenderInput made;
  made.messages =
      base::parse_json(R"([{"role":"user","content":"q"},{"role":"assistant","content":"a"}])").as_array();
  made.bos_token = "<s>";
  return made;
}

std::string render(const std::string& source) {
  return ChatTemplate::parse("t", source).render(input());
}

TemplateError::Kind failure(const std::string& source) {
  try {
    render(source);
  } catch (const TemplateError& error) {
    return error.kind;
  }
  ADD_FAILURE() << "no error: " << source.substr(0, 200);
  return TemplateError::Kind::kFailed;
}

std::string repeated(const std::string& piece, int times) {
  std::string text;
  for (int i = 0; i < times; ++i)
    text += piece;
  return text;
}

TEST(ChatTemplates, SpansSayWhichMessageWroteWhat) {
  const auto rendered = ChatTemplate::parse("t",
                                            "{{ bos_token }}{% for m in messages[0:] %}[{{ m.content }}{% "
                                            "for c in [1,2] %}{{ c }}{% endfor %}]{% endfor %}!")
                            .render_spans(input());
  EXPECT_EQ(rendered.text, "<s>[q12][a12]!");
  ASSERT_EQ(rendered.spans.size(), 2u);
  EXPECT_EQ(rendered.spans[0].message, 0u);
  EXPECT_EQ(rendered.text.substr(rendered.spans[0].begin, rendered.spans[0].end - rendered.spans[0].begin),
            "[q12]");
  EXPECT_EQ(rendered.spans[1].message, 1u);
  EXPECT_EQ(rendered.text.substr(rendered.spans[1].begin, rendered.spans[1].end - rendered.spans[1].begin),
            "[a12]");
}

TEST(ChatTemplates, StrftimeShowsTheGivenTime) {
  EXPECT_EQ(render("{{ strftime_now('%d %b %Y') }}"), "26 Jul 2024");
  EXPECT_EQ(failure("{{ strftime_now('%Q') }}"), TemplateError::Kind::kFailed);
}

TEST(ChatTemplates, WhatIsOutsideTheSubsetIsRefusedAtOnce) {
  for (const char* source : {"{% if 0 %}{{ 'a' | shuffle }}{% endif %}", "{% if 0 %}{{ x.pop() }}{% endif %}",
                             "{% if 0 %}{{ x is divisibleby 3 }}{% endif %}",
                             "{% if 0 %}{{ lipsum() }}{% endif %}", "{% import 'x' %}", "{{ x.__class__ }}",
                             "{% generation %}", "{{ a", "{% if 1 %}", "{{ f(*a) }}", "{{ 'a'\x01 }}"}) {
    try {
      ChatTemplate::parse("model/tokenizer_config.json", source);
      ADD_FAILURE() << source;
    } catch (const base::FormatError& error) {
      EXPECT_EQ(error.field, "chat_template");
      EXPECT_THAT(error.what(), HasSubstr("model/tokenizer_config.json"));
    }
  }
}

TEST(ChatTemplates, HostileTemplatesEndInBoundedTime) {
  const auto start = std::chrono::steady_clock::now();
  const std::string loop = "{% for a in range(99999) %}";
  EXPECT_EQ(failure(loop + loop + "{% set x = a %}{% endfor %}{% endfor %}"), TemplateError::Kind::kLimit);
  EXPECT_EQ(failure("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"), TemplateError::Kind::kLimit);
  EXPECT_EQ(failure("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}"), TemplateError::Kind::kLimit);
  EXPECT_EQ(failure("{% set ns = namespace(x='aaaaaaaaaaaaaaaa') %}" + loop +
                    "{% set ns.x = ns.x ~ ns.x %}{% endfor %}"),
            TemplateError::Kind::kLimit);
  EXPECT_EQ(failure("{% set ns = namespace(x=[]) %}" + loop +
                    "{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}"),
            TemplateError::Kind::kLimit);
  EXPECT_EQ(failure("{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% "
                    "endfor %}{{ ns.x }}"),
            TemplateError::Kind::kLimit);
  EXPECT_EQ(failure("{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% "
                    "endfor %}{{ ns.x | tojson }}"),
            TemplateError::Kind::kLimit);
  EXPECT_EQ(failure("{% set a = namespace(x=[1], y=[1]) %}{% for i in range(60) %}{% set a.x = [a.x, a.x] "
                    "%}{% set a.y = [a.y, a.y] %}{% endfor %}{{ a.x == a.y }}"),
            TemplateError::Kind::kLimit);
  EXPECT_EQ(failure("{{ 'aaaaaaaaaa' * 100000000 }}"), TemplateError::Kind::kLimit);
  EXPECT_EQ(failure("{{ [1] * 1000000000 }}"), TemplateError::Kind::kLimit);
  EXPECT_EQ(failure("{{ range(1000000000) }}"), TemplateError::Kind::kFailed);
  EXPECT_EQ(failure("{{ 10 ** 1000000000000 }}"), TemplateError::Kind::kFailed);
  EXPECT_EQ(failure(loop + "{{ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' * 1000 }}{% endfor %}"),
            TemplateError::Kind::kLimit);
  EXPECT_EQ(failure("{% set a = 'aaaaaaaaaa' * 100000 %}{{ a.replace('a', a) }}"),
            TemplateError::Kind::kLimit);
  EXPECT_EQ(failure("{% set l = [] %}{% set _ = l.append(l) %}{{ l }}"), TemplateError::Kind::kLimit);
  EXPECT_EQ(failure("{% set ns = namespace() %}{% set ns.x = ns %}{% macro m() %}{% endmacro %}{% set ns.m = "
                    "m %}{{ ns.m }}"),
            TemplateError::Kind::kFailed);
  for (const std::string& source :
       {repeated("(", 5000) + "1" + repeated(")", 5000), repeated("-", 50000) + "1",
        repeated("1+", 50000) + "1", repeated("not ", 50000) + "1", repeated("[", 5000),
        "x" + repeated(".a", 50000), "x" + repeated("|trim", 20000), repeated("1 if 1 else ", 10000) + "1",
        repeated("a and ", 20000) + "1"})
    EXPECT_THROW(ChatTemplate::parse("t", "{{ " + source + " }}"), base::FormatError) << source.substr(0, 20);
  EXPECT_THROW(ChatTemplate::parse("t", repeated("{% if 1 %}", 5000)), base::FormatError);
  EXPECT_THROW(ChatTemplate::parse("t", std::string(1 << 20, 'a')), base::FormatError);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(60));
}

TEST(ChatTemplates, LoadsFromTheModelsFiles) {
  ScratchModel model;
  EXPECT_FALSE(ChatTemplate::load(model.path()).has_value());
  model.write("tokenizer_config.json", R"({"chat_template":null})");
  EXPECT_FALSE(ChatTemplate::load(model.path()).has_value());
  model.write("tokenizer_config.json", R"({"chat_template":"one"})");
  EXPECT_EQ(ChatTemplate::load(model.path())->render(input()), "one");
  model.write(
      "tokenizer_config.json",
      R"({"chat_template":[{"name":"tool_use","template":"x"},{"name":"default","template":"two"}]})");
  EXPECT_EQ(ChatTemplate::load(model.path())->render(input()), "two");
  model.write("tokenizer_config.json", R"({"chat_template":[{"name":"tool_use","template":"x"}]})");
  EXPECT_THROW(ChatTemplate::load(model.path()), base::FormatError);
  model.write("chat_template.jinja", "three");
  EXPECT_EQ(ChatTemplate::load(model.path())->render(input()), "three");
}

}  // namespace
}  // namespace finetuned::text
