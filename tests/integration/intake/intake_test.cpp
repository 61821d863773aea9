#include "services/intake/intake.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/integration/platform/data_directory.h"
#include "tests/integration/platform/eventually.h"
#include "tests/integration/platform/tiny_model.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"
#include "trainer/text/supervised.h"

namespace finetuned::intake {
namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;
using storage::FileStatus;
using storage::IntakeStore;

class IntakeTest : public testing::Test {
 protected:
  IntakeTest() : project_(tests::make_project(tests::pool())) {
    options_.owner = "test";
    options_.lease_seconds = 60;
    // Models and files of other tests would be counted too: each test starts from an empty shelf.
    tests::pool().transact(Scope::system(), [](Transaction& tx) {
      tx.execute("DELETE FROM file_tokens");
      tx.execute("DELETE FROM base_model");
      tx.execute("UPDATE file SET deleted_at = clock_timestamp()");
    });
  }

  void check_all() {
    Intake intake(tests::pool(), data_.store(), options_);
    while (intake.check_one({})) {
    }
  }

  storage::File file(const std::string& id) {
    return tests::pool().transact(Scope::system(),
                                  [&](Transaction& tx) { return *storage::FileStore(tx).find(id); });
  }
  json::object report(const std::string& id) {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) { return *IntakeStore(tx).report(id); });
  }
  std::optional<storage::TokenCounts> counts(const std::string& id, const storage::BaseModel& model) {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      return IntakeStore(tx).counts(id, model.tokenizer_fingerprint, true);
    });
  }

  tests::DataDirectory data_;
  storage::Project project_;
  IntakeOptions options_;
};

TEST_F(IntakeTest, CountsEveryRowExactly) {
  const auto model = data_.import_tiny_model(tests::pool());
  const auto uploaded = data_.upload(tests::pool(), project_, tests::chat_dataset(25));
  check_all();
  EXPECT_EQ(file(uploaded.id).status, FileStatus::kProcessed);
  const auto found = counts(uploaded.id, model);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->rows, 25);
  const text::RowEncoder encoder{std::filesystem::path(model.directory)};
  std::istringstream stream(tests::chat_dataset(25));
  text::DatasetReader reader(stream);
  std::int64_t total = 0;
  for (std::size_t i = 0; const auto row = reader.next(); ++i) {
    const auto tokens = static_cast<std::int64_t>(encoder.encode(*row).row.ids.size());
    EXPECT_EQ(found->row_tokens.at(i), tokens);
    total += tokens;
  }
  EXPECT_EQ(found->tokens, total);
  const json::object shown = report(uploaded.id);
  EXPECT_TRUE(shown.at("ok").as_bool());
  EXPECT_EQ(shown.at("rows").as_int64(), 25);
  EXPECT_EQ(shown.at("format").as_string(), "chat");
  EXPECT_EQ(shown.at("tokens").as_object().at(model.name).as_object().at("tokens").as_int64(), total);
}

TEST_F(IntakeTest, ReportsEveryFaultAtOnce) {
  data_.import_tiny_model(tests::pool());
  std::string text = tests::chat_dataset(12);
  text += "not json\n";
  text += R"({"messages": [{"role": "user", "content": "no answer"}]})" "\n";
  text += R"({"messages": [{"role": "nobody", "content": "x"}, {"role": "assistant", "content": "y"}]})" "\n";
  const auto uploaded = data_.upload(tests::pool(), project_, text);
  check_all();
  const auto checked = file(uploaded.id);
  EXPECT_EQ(checked.status, FileStatus::kError);
  EXPECT_THAT(checked.status_details.value_or(""), testing::HasSubstr("line 13"));
  EXPECT_THAT(checked.status_details.value_or(""), testing::HasSubstr("2 other faults"));
  const json::object shown = report(uploaded.id);
  EXPECT_FALSE(shown.at("ok").as_bool());
  EXPECT_EQ(shown.at("fault_count").as_int64(), 3);
  std::vector<std::int64_t> lines;
  for (const json::value& fault : shown.at("faults").as_array()) {
    lines.push_back(fault.at("line").as_int64());
    EXPECT_FALSE(fault.at("code").as_string().empty());
    EXPECT_FALSE(fault.at("message").as_string().empty());
  }
  EXPECT_THAT(lines, testing::ElementsAre(13, 14, 15));
}

TEST_F(IntakeTest, RefusesAnEmptyFileAndNineRows) {
  const auto empty = data_.upload(tests::pool(), project_, "");
  const auto nine = data_.upload(tests::pool(), project_, tests::chat_dataset(9));
  check_all();
  EXPECT_EQ(file(empty.id).status, FileStatus::kError);
  EXPECT_EQ(file(nine.id).status, FileStatus::kError);
  EXPECT_EQ(report(empty.id).at("faults").at(0).at("code").as_string(), "empty_file");
  EXPECT_EQ(report(nine.id).at("faults").at(0).at("code").as_string(), "too_few_examples");
}

TEST_F(IntakeTest, CountsAFileForAModelThatIsImportedLater) {
  const auto first = data_.import_tiny_model(tests::pool(), 1, 256);
  const auto uploaded = data_.upload(tests::pool(), project_, tests::chat_dataset(15));
  check_all();
  const auto later = data_.import_tiny_model(tests::pool(), 1, 128);  // another context: another tokenizer_config.json
  ASSERT_NE(first.tokenizer_fingerprint, later.tokenizer_fingerprint);
  EXPECT_FALSE(counts(uploaded.id, later));
  check_all();
  ASSERT_TRUE(counts(uploaded.id, later));
  EXPECT_EQ(counts(uploaded.id, later)->rows, 15);
  EXPECT_EQ(file(uploaded.id).status, FileStatus::kProcessed);
}

TEST_F(IntakeTest, ReadsAFileAgainWhoseReaderDied) {
  const auto uploaded = data_.upload(tests::pool(), project_, tests::chat_dataset(12));
  const auto dead = tests::pool().transact(Scope::system(),
                                           [](Transaction& tx) { return IntakeStore(tx).claim("dead", 1); });
  ASSERT_TRUE(dead && dead->file.id == uploaded.id);
  Intake intake(tests::pool(), data_.store(), options_);
  EXPECT_FALSE(intake.check_one({}));
  EXPECT_TRUE(tests::eventually([&] { return intake.check_one({}); }, 5));
  EXPECT_EQ(file(uploaded.id).status, FileStatus::kProcessed);
  const bool late = tests::pool().transact(
      Scope::system(), [&](Transaction& tx) { return IntakeStore(tx).release(dead->lease); });
  EXPECT_FALSE(late);
}

TEST_F(IntakeTest, GivesUpAFileThatTakesItsReadersDown) {
  const auto uploaded = data_.upload(tests::pool(), project_, tests::chat_dataset(12));
  for (int i = 0; i < options_.most_attempts; ++i) {
    ASSERT_TRUE(tests::eventually([&] {
      return tests::pool()
          .transact(Scope::system(), [](Transaction& tx) { return IntakeStore(tx).claim("dead", 0); })
          .has_value();
    }));
  }
  check_all();
  EXPECT_EQ(file(uploaded.id).status, FileStatus::kError);
  EXPECT_EQ(report(uploaded.id).at("faults").at(0).at("code").as_string(), "internal_error");
}

TEST_F(IntakeTest, AStopLetsTheFileGoForAnother) {
  data_.import_tiny_model(tests::pool());
  const auto uploaded = data_.upload(tests::pool(), project_, tests::chat_dataset(40));
  std::stop_source stop;
  stop.request_stop();
  Intake stopped(tests::pool(), data_.store(), options_);
  EXPECT_TRUE(stopped.check_one(stop.get_token()));
  EXPECT_EQ(file(uploaded.id).status, FileStatus::kUploaded);
  Intake next(tests::pool(), data_.store(), options_);
  EXPECT_TRUE(next.check_one({}));  // at once: the lease was given back
  EXPECT_EQ(file(uploaded.id).status, FileStatus::kProcessed);
}

TEST_F(IntakeTest, RunsUntilStoppedAndWakesAtOnce) {
  Intake intake(tests::pool(), data_.store(), options_);
  std::jthread thread([&](const std::stop_token& stop) { intake.run(stop); });
  const auto uploaded = data_.upload(tests::pool(), project_, tests::chat_dataset(12));
  intake.wake();
  EXPECT_TRUE(tests::eventually([&] { return file(uploaded.id).status == FileStatus::kProcessed; }, 5));
}

}  // namespace
}  // namespace finetuned::intake
