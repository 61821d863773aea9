#include "trainer/text/dataset.h"

#include <fstream>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sstream>

#include "scratch_model.h"

namespace finetuned::text {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr const char* kGood =
    R"({"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]})";

struct Result {
  std::vector<Row> rows;
  FaultList faults;
};

Result read(const std::string& text, DatasetLimits limits = {}) {
  std::istringstream stream(text);
  DatasetReader reader(stream, limits);
  Result result;
  while (std::optional<Row> row = reader.next())
    result.rows.push_back(std::move(*row));
  result.faults = reader.faults();
  return result;
}

// The faults of one row as "field code".
std::vector<std::string> faults_of(const std::string& line) {
  DatasetLimits limits;
  limits.min_examples = 1;
  std::vector<std::string> codes;
  const Result result = read(line, limits);
  for (const RowFault& fault : result.faults.kept())
    codes.push_back(fault.field + " " + fault.code);
  return codes;
}

std::string with_messages(const std::string& messages, const std::string& more = "") {
  return R"({"messages":[)" + messages + "]" + more + "}";
}

TEST(Dataset, ReadsEveryFormatAsTheSameRow) {
  DatasetLimits limits;
  limits.min_examples = 4;
  const Result result =
      read(std::string(kGood) + "\n" + R"({"prompt":"q","completion":"a"})" + "\r\n" +
               R"({"instruction":"q","input":"","output":"a","id":7})" + "\n" +
               R"({"conversations":[{"from":"human","value":"q"},{"from":"gpt","value":"a"}]})",
           limits);
  EXPECT_EQ(result.faults.count(), 0);
  ASSERT_EQ(result.rows.size(), 4u);
  for (std::size_t i = 0; i < result.rows.size(); ++i) {
    const Row& row = result.rows[i];
    EXPECT_EQ(row.line, static_cast<std::int64_t>(i) + 1);
    ASSERT_EQ(row.messages.size(), 2u);
    EXPECT_EQ(row.messages[0].role, Role::kUser);
    EXPECT_EQ(row.messages[0].content, "q");
    EXPECT_EQ(row.messages[1].role, Role::kAssistant);
    EXPECT_EQ(row.messages[1].content, "a");
    EXPECT_EQ(row.plain_completion, i == 1);
  }
}

TEST(Dataset, KeepsWeightsNamesToolsAndParts) {
  DatasetLimits limits;
  limits.min_examples = 1;
  const Result result = read(
      R"({"messages":[{"role":"developer","content":"d"},{"role":"user","name":"ann","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},)"
      R"({"role":"assistant","content":"x","weight":0},)"
      R"({"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},)"
      R"({"role":"tool","tool_call_id":"c1","content":""},{"role":"assistant","content":"y","weight":1}],)"
      R"("tools":[{"type":"function","function":{"name":"f","parameters":{}}}]})",
      limits);
  ASSERT_EQ(result.rows.size(), 1u) << (result.faults.kept().empty() ? "" : result.faults.kept()[0].message);
  const Row& row = result.rows[0];
  EXPECT_EQ(row.messages[1].content, "ab");
  EXPECT_EQ(row.messages[1].name, "ann");
  EXPECT_FALSE(row.messages[2].trained);
  EXPECT_FALSE(row.messages[3].content.has_value());
  EXPECT_EQ(row.messages[3].tool_calls.size(), 1u);
  EXPECT_EQ(row.messages[4].tool_call_id, "c1");
  EXPECT_TRUE(row.messages[5].trained);
  EXPECT_EQ(row.tools.size(), 1u);
}

TEST(Dataset, FaultsOfAFile) {
  EXPECT_EQ(read("").faults.kept().at(0).code, "empty_file");
  EXPECT_EQ(read("\n\n  \n").faults.kept().at(0).code, "empty_file");
  std::string nine;
  for (int i = 0; i < 9; ++i)
    nine += std::string(kGood) + "\n";
  EXPECT_EQ(read(nine).faults.kept().at(0).code, "too_few_examples");
  EXPECT_EQ(read(nine + kGood + "\n\n\n").faults.count(), 0);
}

TEST(Dataset, FaultsOfALine) {
  DatasetLimits limits;
  limits.min_examples = 1;
  limits.line_bytes = 200;
  const std::string text = "\xEF\xBB\xBF" + std::string(kGood) + "\n\n{\"a\":\n" + std::string(300, 'x') +
                           "\n[1]\n{\"a\":\"\xFF\"}\n" +
                           "{\"prompt\":\"a\",\"prompt\":\"b\",\"completion\":\"c\"}\n" + kGood;
  const Result result = read(text, limits);
  std::vector<std::string> seen;
  for (const RowFault& fault : result.faults.kept())
    seen.push_back(std::to_string(fault.line) + " " + fault.code);
  EXPECT_THAT(seen, ElementsAre("1 byte_order_mark", "2 blank_line", "3 invalid_json", "4 line_too_long",
                                "5 not_an_object", "6 invalid_utf8", "7 invalid_json"));
  EXPECT_EQ(result.rows.size(), 1u);
  EXPECT_EQ(result.rows.at(0).line, 8);
}

TEST(Dataset, FaultsOfARow) {
  const std::string user = R"({"role":"user","content":"q"})";
  const std::string answer = R"({"role":"assistant","content":"a"})";
  EXPECT_THAT(faults_of(R"({"text":"x"})"), ElementsAre(" unknown_format"));
  EXPECT_THAT(faults_of(R"({"messages":1})"), ElementsAre("messages invalid_type"));
  EXPECT_THAT(faults_of(R"({"messages":[]})"), ElementsAre("messages empty_messages"));
  EXPECT_THAT(faults_of(with_messages(user)), ElementsAre("messages missing_assistant_message"));
  EXPECT_THAT(faults_of(with_messages(user + R"(,{"role":"assistant","content":"a","weight":0})")),
              ElementsAre("messages no_trained_message"));
  EXPECT_THAT(faults_of(with_messages(R"(1,{"content":"x"},{"role":"robot","content":"x"},)" + answer)),
              ElementsAre("messages[0] invalid_type", "messages[1].role missing_field",
                          "messages[2].role unknown_role"));
  EXPECT_THAT(faults_of(with_messages(
                  R"({"role":"user"},{"role":"user","content":""},{"role":"user","content":3},)" + answer)),
              ElementsAre("messages[0].content missing_field", "messages[1].content empty_content",
                          "messages[2].content invalid_type"));
  EXPECT_THAT(faults_of(with_messages(R"({"role":"user","content":[{"type":"image_url"}]},)" + answer)),
              ElementsAre("messages[0].content[0] unsupported_content_part"));
  EXPECT_THAT(
      faults_of(with_messages(
          R"({"role":"user","content":"x","weight":1},{"role":"assistant","content":"a","weight":2})")),
      ElementsAre("messages[0].weight invalid_weight", "messages[1].weight invalid_weight"));
  EXPECT_THAT(faults_of(with_messages(R"({"role":"user","content":"x","loss":1,"name":3},)" + answer)),
              ElementsAre("messages[0].loss unknown_field", "messages[0].name invalid_type"));
  EXPECT_THAT(
      faults_of(with_messages(
          user + R"(,{"role":"assistant","tool_calls":[{"type":"x","function":{"arguments":"{"}}]})")),
      ElementsAre("messages[1].tool_calls[0].id invalid_tool_call",
                  "messages[1].tool_calls[0].type invalid_tool_call",
                  "messages[1].tool_calls[0].function.name invalid_tool_call",
                  "messages[1].tool_calls[0].function.arguments invalid_tool_call"));
  EXPECT_THAT(
      faults_of(with_messages(
          user + R"(,{"role":"tool","tool_call_id":"z","content":"r"},{"role":"tool","content":"r"},)" +
          answer)),
      ElementsAre("messages[1].tool_call_id unknown_tool_call_id", "messages[2].tool_call_id missing_field"));
  EXPECT_THAT(faults_of(with_messages(user + "," + answer, R"(,"tools":[{"type":"function"}])")),
              ElementsAre("tools[0] invalid_tool"));
  EXPECT_THAT(faults_of(R"({"prompt":"a"})"), ElementsAre("completion missing_field"));
  EXPECT_THAT(faults_of(R"({"prompt":1,"completion":""})"),
              ElementsAre("prompt invalid_type", "completion empty_completion"));
  EXPECT_THAT(faults_of(R"({"instruction":"a","output":""})"), ElementsAre("output empty_completion"));
  EXPECT_THAT(faults_of(R"({"conversations":[{"from":"x","value":"a"},{"from":"gpt","value":""}]})"),
              ElementsAre("conversations[0].from unknown_role", "conversations[1].value empty_content"));
}

TEST(Dataset, TooManyMessagesAreRefusedBeforeTheyAreRead) {
  DatasetLimits limits;
  limits.min_examples = 1;
  limits.messages = 2;
  const std::string user = R"({"role":"user","content":"q"},)";
  const Result result = read(with_messages(user + user + R"({"role":"assistant","content":"a"})"), limits);
  EXPECT_EQ(result.faults.kept().at(0).code, "too_many_messages");
}

TEST(Dataset, AllFaultsAreCountedAndTheFirstOnesKept) {
  DatasetLimits limits;
  limits.kept_faults = 5;
  std::string text;
  for (int i = 0; i < 100; ++i)
    text += "{\n";
  const Result result = read(text, limits);
  EXPECT_EQ(result.faults.count(), 100);
  EXPECT_EQ(result.faults.kept().size(), 5u);
}

TEST(Dataset, Gsm8kHasNoFault) {
  const auto path = shared_path("data/gsm8k-1000.jsonl");
  if (path.empty()) GTEST_SKIP() << "../shared/data is absent";
  std::ifstream file(path, std::ios::binary);
  DatasetReader reader(file);
  int rows = 0;
  while (reader.next())
    ++rows;
  EXPECT_EQ(rows, 1000);
  EXPECT_THAT(reader.faults().kept(), IsEmpty());
}

}  // namespace
}  // namespace finetuned::text
