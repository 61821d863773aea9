#include "storage/postgres/async_reader.h"

#include <gmock/gmock.h>

#include <optional>
#include <thread>

#include "base/offload.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned::tests {
namespace {

using postgres::AsyncReader;
using postgres::Scope;
using testing::ElementsAre;

constexpr const char* kName = "async reader test";
using Rows = AsyncReader::Rows;

class AsyncReaderTest : public testing::Test {
 protected:
  /// What a reading comes to; nothing where it has no answer or is not begun within some seconds.
  std::optional<Rows> read(AsyncReader& reader, const Scope& scope, const std::vector<postgres::Value>& values) {
    std::optional<Rows> rows;
    bool done = false;
    const auto take = [&](const Rows* answer) {
      if (answer) rows = *answer;
      done = true;
    };
    for (int tries = 0; tries < 500 && !reader.begin(scope, values, take); ++tries) turn(std::chrono::milliseconds(20));
    for (int turns = 0; turns < 500 && !done; ++turns) turn(std::chrono::milliseconds(20));
    EXPECT_TRUE(done) << "a reading has an end";
    return rows;
  }
  void turn(std::chrono::milliseconds time) {
    io_.restart();
    io_.run_for(time);
    if (io_.stopped()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  AsyncReader& make(const char* sql) { return reader_.emplace(io_, *blocking_, database_url(), kName, sql); }
  ~AsyncReaderTest() override { blocking_.reset(); }

  boost::asio::io_context io_{1};
  std::optional<AsyncReader> reader_;
  std::optional<base::BlockingPool> blocking_{std::in_place, 1, 8};
};

TEST_F(AsyncReaderTest, SeesTheProjectsRowsAsTheyAreNow) {
  const auto mine = make_project(pool()), others = make_project(pool());
  const auto file = make_file(pool(), mine);
  AsyncReader& reader = make("SELECT id, status, expires_at FROM file WHERE id = $1");
  EXPECT_THAT(read(reader, Scope::project(mine.id), {file.id}).value(), ElementsAre(ElementsAre(file.id, "uploaded", "")));
  EXPECT_THAT(read(reader, Scope::project(others.id), {file.id}).value(), ElementsAre());
  EXPECT_THAT(read(reader, Scope::project(mine.id), {"it's not there"}).value(), ElementsAre());
  pool().transact(Scope::system(), [&](postgres::Transaction& tx) {
    tx.execute("UPDATE file SET status = 'processed' WHERE id = $1", {file.id});
  });
  EXPECT_THAT(read(reader, Scope::project(mine.id), {file.id}).value(), ElementsAre(ElementsAre(file.id, "processed", "")));
  EXPECT_THAT(read(reader, Scope::system(), {file.id}).value(), ElementsAre(ElementsAre(file.id, "processed", "")));
}

TEST_F(AsyncReaderTest, HasOneReadingUnderWay) {
  AsyncReader& reader = make("SELECT $1::int + 1");
  EXPECT_FALSE(reader.begin(Scope::system(), {1}, [](const Rows*) { FAIL() << "there is no session yet"; }));
  EXPECT_THAT(read(reader, Scope::system(), {1}).value(), ElementsAre(ElementsAre("2")));
  int answers = 0;
  ASSERT_TRUE(reader.begin(Scope::system(), {2}, [&](const Rows* rows) { answers += rows != nullptr; }));
  EXPECT_TRUE(reader.busy());
  EXPECT_FALSE(reader.begin(Scope::system(), {3}, [](const Rows*) { FAIL() << "it was not begun"; }));
  for (int turns = 0; turns < 100 && answers == 0; ++turns) turn(std::chrono::milliseconds(20));
  EXPECT_EQ(answers, 1);
  EXPECT_FALSE(reader.busy());
}

TEST_F(AsyncReaderTest, HasNoAnswerFromAStatementThatFailsOrTakesTooLongAndGoesOn) {
  AsyncReader& reader = make("SELECT pg_sleep($1::float8), 1 / $2::int");
  EXPECT_THAT(read(reader, Scope::system(), {0, 1}).value(), ElementsAre(ElementsAre("", "1")));
  EXPECT_FALSE(read(reader, Scope::system(), {0, 0}));
  EXPECT_TRUE(read(reader, Scope::system(), {0, 1}));
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_FALSE(read(reader, Scope::system(), {60, 1}));
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
  EXPECT_TRUE(read(reader, Scope::system(), {0, 1}));
}

TEST_F(AsyncReaderTest, MakesItsSessionAnewWhereTheServerEndedIt) {
  AsyncReader& reader = make("SELECT 7");
  EXPECT_THAT(read(reader, Scope::system(), {}).value(), ElementsAre(ElementsAre("7")));
  const auto ended = make_pool(1)->transact(Scope::system(), [&](postgres::Transaction& tx) {
    return tx.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = $1", {kName}).size();
  });
  EXPECT_EQ(ended, 1u);
  EXPECT_FALSE(read(reader, Scope::system(), {})) << "what was sent has no answer";
  EXPECT_THAT(read(reader, Scope::system(), {}).value(), ElementsAre(ElementsAre("7")));
}

}  // namespace
}  // namespace finetuned::tests
