#include "services/cli/render.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "services/cli/bill.h"
#include "services/cli/files.h"
#include "services/cli/watch.h"

namespace finetuned::cli {
namespace {

TEST(Table, AlignsColumnsAndSetsNumbersRight) {
  EXPECT_EQ(render_table({{"NAME", "BYTES"}, {"a", "5"}, {"longer", "1,200"}}),
            "NAME    BYTES\n"
            "a           5\n"
            "longer  1,200\n");
}

TEST(Table, CountsCharactersNotBytes) {
  EXPECT_EQ(render_table({{"A", "B"}, {"\xc3\xa9\xc3\xa9\xc3\xa9", "x"}, {"aaaa", "y"}}),
            "A     B\n\xc3\xa9\xc3\xa9\xc3\xa9   x\naaaa  y\n");
}

TEST(Figures, ReadAsPeopleWriteThem) {
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1500), "1.5 kB");
  EXPECT_EQ(format_bytes(999'999), "1.0 MB");
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(1'234'567), "1,234,567");
  EXPECT_EQ(format_count(-1000), "-1,000");
  EXPECT_EQ(format_seconds(59.6), "1:00");
  EXPECT_EQ(format_seconds(3661), "1:01:01");
  EXPECT_EQ(format_time(1'700'000'000), "2023-11-14 22:13:20");
}

TEST(Bar, StaysWithinItsWidth) {
  EXPECT_EQ(render_bar(0, 4), "[>   ]");
  EXPECT_EQ(render_bar(0.5, 4), "[==> ]");
  EXPECT_EQ(render_bar(1, 4), "[====]");
  EXPECT_EQ(render_bar(7, 4), "[====]");
  EXPECT_EQ(render_bar(-1, 4), "[>   ]");
}

TEST(Cell, ShowsWhateverTheApiSends) {
  const base::json::value object =
      base::parse_json(R"({"a":"x\ty","b":null,"c":12,"d":1.5,"e":true,"f":[]})");
  EXPECT_EQ(cell(object, "a"), "x y");
  EXPECT_EQ(cell(object, "b"), "-");
  EXPECT_EQ(cell(object, "c"), "12");
  EXPECT_EQ(cell(object, "d"), "1.5");
  EXPECT_EQ(cell(object, "e"), "yes");
  EXPECT_EQ(cell(object, "f"), "-");
  EXPECT_EQ(cell(object, "absent"), "-");
  EXPECT_EQ(cell(base::json::value(3), "a"), "-");
}

TEST(Cell, TerminalControlCharactersOfAnotherPersonsTextAreSetAside) {
  EXPECT_EQ(printable("a\x1b[2Jb\rc\x7f"), "a [2Jb c ");
}

TEST(Bill, ShowsWhatWasHeldChargedAndReturned) {
  const base::json::value job =
      base::parse_json(R"({"id":"ftjob-1","status":"succeeded","trained_tokens":1500})");
  const base::json::value transfers = base::parse_json(R"([{"kind":"post","amount":"1500000"},
                                                           {"kind":"pending","amount":"2000000"}])");
  EXPECT_EQ(render_bill(job, transfers.as_array()),
            "job             ftjob-1  succeeded\n"
            "trained tokens  1,500\n"
            "held            $0.002  (2,000,000 nano-dollars)\n"
            "charged         $0.0015  (1,500,000 nano-dollars)\n"
            "returned        $0.0005  (500,000 nano-dollars)\n");
}

TEST(Bill, OfAJobWhoseChargeWasCorrectedShowsWhatWasGivenBack) {
  const base::json::value transfers = base::parse_json(R"([{"kind":"correction","amount":"500000"},{"kind":"post","amount":"1500000"},
                                                           {"kind":"pending","amount":"1500000"}])");
  EXPECT_THAT(render_bill(base::parse_json(R"({"id":"ftjob-1","status":"cancelled"})"), transfers.as_array()),
              testing::EndsWith("given back  $0.0005  (500,000 nano-dollars)\n"));
}

TEST(Bill, ACorrectionThatWasCorrectedGaveBackLess) {
  const base::json::value transfers = base::parse_json(R"([{"id":"d","kind":"correction","corrects_id":"c","amount":"100000"},
      {"id":"c","kind":"correction","corrects_id":"b","amount":"300000"}, {"id":"b","kind":"correction","corrects_id":"a","amount":"500000"},
      {"id":"a","kind":"post","amount":"1500000"}, {"kind":"pending","amount":"1500000"}])");
  EXPECT_THAT(render_bill(base::parse_json(R"({"id":"ftjob-1","status":"cancelled"})"), transfers.as_array()),
              testing::EndsWith("given back  $0.0003  (300,000 nano-dollars)\n"));
}

TEST(Bill, OfAJobThatIsNotSettledShowsTheHoldAlone) {
  const base::json::value job =
      base::parse_json(R"({"id":"ftjob-1","status":"running","trained_tokens":null})");
  const base::json::value transfers = base::parse_json(R"([{"kind":"pending","amount":"2000000"}])");
  EXPECT_EQ(render_bill(job, transfers.as_array()),
            "job   ftjob-1  running\nheld  $0.002  (2,000,000 nano-dollars)\n");
}

TEST(Money, IsReadAsTheApiSendsIt) {
  const base::json::value object = base::parse_json(R"({"a":"1500000000","b":"x","c":null,"d":""})");
  EXPECT_EQ(dollars_cell(object, "a"), "$1.50");
  EXPECT_EQ(dollars_cell(object, "b"), "x");
  EXPECT_EQ(dollars_cell(object, "c"), "-");
  EXPECT_EQ(nano_of(object, "a"), 1'500'000'000);
  EXPECT_EQ(nano_of(object, "b"), 0);
  EXPECT_EQ(nano_of(object, "d"), 0);
}

TEST(FileName, StaysInTheDirectory) {
  EXPECT_EQ(safe_file_name("adapter_model.safetensors", "file-1"), "adapter_model.safetensors");
  EXPECT_EQ(safe_file_name("../../etc/passwd", "file-1"), "passwd");
  EXPECT_EQ(safe_file_name("..", "file-1"), "file-1");
  EXPECT_EQ(safe_file_name("a\\b", "file-1"), "b");
  EXPECT_EQ(safe_file_name("dir/", "file-1"), "file-1");
  EXPECT_EQ(safe_file_name(".bashrc", "file-1"), "file-1");
}

TEST(Step, ShowsWhatIsKnown) {
  const base::json::value metrics =
      base::parse_json(R"({"step":3,"total_steps":12,"train_loss":1.25,"tokens_per_second":12345.6})");
  EXPECT_EQ(describe_step(metrics, 61), "step 3/12  loss 1.2500  12,345 tokens/s  1:01 left");
  EXPECT_EQ(describe_step(metrics, -1), "step 3/12  loss 1.2500  12,345 tokens/s");
}

TEST(Job, HasEndedOnlyInATerminalState) {
  for (const char* status : {"validating_files", "queued", "running", "paused"}) {
    const base::json::value job = {{"status", status}};
    EXPECT_FALSE(has_ended(job)) << status;
  }
  for (const char* status : {"succeeded", "failed", "cancelled"}) {
    const base::json::value job = {{"status", status}};
    EXPECT_TRUE(has_ended(job)) << status;
  }
}

}  // namespace
}  // namespace finetuned::cli
