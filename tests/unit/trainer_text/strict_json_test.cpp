#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <sstream>

#include "base/errors.h"
#include "tests/json_cases/refused.h"
#include "tests/unit/trainer_text/scratch_model.h"
#include "trainer/text/chat_template.h"
#include "trainer/text/dataset.h"

namespace finetuned::text {
namespace {

using testing::AnyOf;
using testing::HasSubstr;

void expect_file_refused(const std::string& name, const std::function<void(const ScratchModel&)>& load) {
  ScratchModel model;
  model.write("tokenizer.json", tokenizer_json(byte_pieces({}), {}, R"("pre_tokenizer":null)"));
  for (const auto& bad : tests::refused_json()) {
    model.write(name, bad.text);
    try {
      load(model);
      ADD_FAILURE() << bad.name << " was accepted";
    } catch (const base::FormatError& error) {
      EXPECT_THAT(error.what(), HasSubstr(bad.why)) << bad.name;
      EXPECT_THAT(error.what(), HasSubstr(name)) << bad.name;
    }
  }
}

TEST(StrictJsonText, TokenizerFile) {
  expect_file_refused("tokenizer.json", [](const ScratchModel& model) { model.load(); });
}

TEST(StrictJsonText, TokenizerConfig) {
  expect_file_refused("tokenizer_config.json", [](const ScratchModel& model) { model.load(); });
  expect_file_refused("tokenizer_config.json", [](const ScratchModel& model) { ChatTemplate::load(model.path()); });
}

TEST(StrictJsonText, DatasetLines) {
  for (const auto& bad : tests::refused_json()) {
    if (bad.text.find('\n') != std::string::npos || bad.text == " ") continue;  // more lines than one, or none
    std::istringstream stream(R"({"prompt":"a","completion":"b"})" "\n" + bad.text + "\n");
    DatasetReader reader(stream, {.min_examples = 1});
    std::size_t rows = 0;
    while (reader.next()) ++rows;
    EXPECT_EQ(rows, 1u) << bad.name;
    ASSERT_EQ(reader.faults().count(), 1) << bad.name;
    EXPECT_EQ(reader.faults().kept().front().line, 2) << bad.name;
    EXPECT_THAT(reader.faults().kept().front().code, AnyOf("invalid_json", "invalid_utf8")) << bad.name;
  }
}

/// They are JSON in a string of JSON.
TEST(StrictJsonText, ArgumentsOfToolCalls) {
  base::json::object function{{"name", "f"}, {"arguments", "{}"}};
  const auto faults_of = [&](const std::string& arguments) {
    function["arguments"] = arguments;
    const base::json::object call{{"id", "c"}, {"type", "function"}, {"function", function}};
    const base::json::array messages{{{"role", "user"}, {"content", "q"}},
                                     {{"role", "assistant"}, {"tool_calls", base::json::array{call}}}};
    FaultList faults;
    parse_row(base::json::object{{"messages", messages}}, 1, {}, faults);
    return faults.count() == 0 ? "" : faults.kept().front().code;
  };
  EXPECT_EQ(faults_of("{}"), "");
  for (const auto& bad : tests::refused_json()) EXPECT_EQ(faults_of(bad.text), "invalid_tool_call") << bad.name;
}

}  // namespace
}  // namespace finetuned::text
