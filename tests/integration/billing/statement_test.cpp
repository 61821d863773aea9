#include "billing/job_statement.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <sstream>

#include "base/errors.h"
#include "base/files.h"
#include "billing/csv.h"
#include "billing/ledger_export.h"
#include "billing/monthly_statement.h"
#include "tests/integration/billing/books_fixture.h"

namespace finetuned::tests {
namespace {

using billing::JobStatementRow;
using storage::JobLeases;
using storage::JobStore;
using testing::HasSubstr;

/// A job of 1,200 tokens at a nano-dollar's thousand each, on the way.
class StatementTest : public BooksTest {
 protected:
  storage::Job job;
  storage::JobLease lease;

  void SetUp() override {
    give_credit(pool(), project, 10'000'000);
    job = create();
    lease = claim(job);
  }
  /// Of one of the project's keys, one model or another on the base.
  void answer(const billing::InferenceTokens& took, int which) {
    pool().transact(Scope::project(project.id), [&](Transaction& tx) {
      const auto terms = billing::inference_terms(tx, project.id, model.name);
      const std::string id = base::make_id("req");
      const auto hold = billing::hold_inference(tx, project.id, id, *terms, {1'000, 1'000}, std::chrono::seconds(60));
      billing::settle_inference(tx, *terms, hold, storage::InferenceUsage{id, project.id, key_, which == 0 ? model.name : "ft:" + model.name, took.input, took.output, true});
    });
  }
  const std::string key_ = make_key(pool(), project);

  std::vector<JobStatementRow> rows(std::int64_t after = 0, int limit = 100) {
    return system([&](Transaction& tx) { return billing::job_statement_rows(tx, *JobStore(tx).find(job.id), after, limit); });
  }
  billing::JobStatement statement() {
    return system([&](Transaction& tx) { return billing::job_statement(tx, *JobStore(tx).find(job.id)); });
  }
  void expect_whole() {
    std::int64_t tokens = 0, amount = 0, next = 1;
    for (const JobStatementRow& row : rows()) {
      EXPECT_EQ(row.first_step, next);
      next = row.step + 1;
      tokens += row.tokens;
      amount += row.amount.value;
      EXPECT_EQ(row.trained_tokens, tokens);
    }
    const auto whole = statement();
    EXPECT_EQ(whole.amount.value, amount);
    EXPECT_EQ(whole.billed_tokens, whole.waived ? 0 : tokens);
    if (find(job.id).settled) {
      EXPECT_EQ(find(job.id).trained_tokens.value_or(0), whole.billed_tokens);
      EXPECT_EQ(balance().spent.value, amount);
      EXPECT_EQ(balance().held.value, 0);
    }
    const auto verification = system(billing::verify_ledger);
    EXPECT_EQ(verification.faults.size(), 0u) << told(verification.faults);
  }
};

TEST_F(StatementTest, EachCommittedCheckpointBooksItsSteps) {
  EXPECT_TRUE(rows().empty());
  checkpoint(lease, {100, 300});
  ASSERT_EQ(rows().size(), 2u);
  EXPECT_EQ(statement().transfer_id, std::nullopt);
  EXPECT_EQ(statement().hold_id, job.hold_transfer_id);
  EXPECT_EQ(statement().amount.value, 300'000);
  EXPECT_EQ(balance().held.value, 1'200'000) << "the hold stays whole until the end";
  expect_whole();
  checkpoint(lease, {100, 300, 600});
  succeed(lease, {100, 300, 600, 1200});
  const auto all = rows();
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[1].tokens, 200);
  EXPECT_EQ(all[1].amount.value, 200'000);
  EXPECT_EQ(all[0].checkpoint_id, all[1].checkpoint_id);
  EXPECT_NE(all[1].checkpoint_id, all[2].checkpoint_id);
  EXPECT_EQ(all[3].checkpoint_id, std::nullopt) << "the end committed it";
  EXPECT_TRUE(statement().transfer_id);
  expect_whole();
}

TEST_F(StatementTest, PagesGoOnBehindAStep) {
  checkpoint(lease, {100, 300});
  succeed(lease, {100, 300, 600, 900, 1200});
  const auto all = rows();
  for (int limit = 1; limit <= 6; ++limit) {
    std::vector<JobStatementRow> paged;
    for (auto page = rows(0, limit); !page.empty(); page = rows(page.back().step, limit)) {
      EXPECT_LE(page.size(), static_cast<std::size_t>(limit));
      paged.insert(paged.end(), page.begin(), page.end());
    }
    ASSERT_EQ(paged.size(), all.size()) << limit;
    for (std::size_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(paged[i].step, all[i].step);
      EXPECT_EQ(paged[i].tokens, all[i].tokens) << limit;
      EXPECT_EQ(paged[i].amount, all[i].amount) << limit;
    }
  }
  EXPECT_TRUE(rows(5).empty());
  EXPECT_TRUE(rows(1'000'000).empty());
}

/// A later attempt takes the steps behind the last saved state again.
TEST_F(StatementTest, WorkThatIsRedoneIsBookedOnce) {
  checkpoint(lease, {100, 300});
  system([&](Transaction& tx) {
    tx.execute("UPDATE job SET lease_until = clock_timestamp() WHERE id = $1", {job.id});
    JobLeases(tx).sweep(3, 10);
  });
  const auto again = claim(job);
  EXPECT_GT(again.epoch, lease.epoch);
  checkpoint(again, {100, 300});
  checkpoint(again, {100, 300, 600, 900});
  EXPECT_EQ(rows().size(), 4u);
  system([&](Transaction& tx) {
    const auto ranges =
        tx.execute("SELECT steps::text AS steps, lease_epoch FROM usage WHERE job_id = $1 ORDER BY steps", {job.id});
    ASSERT_EQ(ranges.size(), 2u);
    EXPECT_EQ(ranges.row(0).text("steps"), "[1,3)");
    EXPECT_EQ(ranges.row(0).integer("lease_epoch"), lease.epoch);
    EXPECT_EQ(ranges.row(1).text("steps"), "[3,5)");
    EXPECT_EQ(ranges.row(1).integer("lease_epoch"), again.epoch);
  });
  succeed(again, {100, 300, 600, 900, 1200});
  expect_whole();
}

/// An attempt that counts less than what an earlier one committed takes nothing back.
TEST_F(StatementTest, BookedTokensNeverShrink) {
  checkpoint(lease, {100, 700});
  succeed(lease, {90, 180, 270, 1200});
  const auto all = rows();
  ASSERT_EQ(all.size(), 4u);
  EXPECT_EQ(all[2].tokens, 0);
  EXPECT_EQ(all[3].tokens, 500);
  expect_whole();
}

TEST_F(StatementTest, ACancelledJobPaysItsCommittedSteps) {
  checkpoint(lease, {100, 300});
  system([&](Transaction& tx) {
    EXPECT_TRUE(JobLeases(tx).set_progress(lease, 3, 4, 600, std::nullopt));
    JobStore(tx).request_cancel(job.id);
    EXPECT_TRUE(JobLeases(tx).finish_cancelled(lease));
    billing::settle_job(tx, job.id);
  });
  EXPECT_EQ(find(job.id).trained_tokens, 300);
  EXPECT_EQ(balance().spent.value, 300'000);
  expect_whole();
}

TEST_F(StatementTest, OfAJobThatFailedByOurFaultTheStepsAreShownAndCostNothing) {
  checkpoint(lease, {100, 300});
  system([&](Transaction& tx) {
    EXPECT_TRUE(JobLeases(tx).fail(lease, {"internal_error", "ours", std::nullopt}));
    billing::settle_job(tx, job.id);
  });
  EXPECT_TRUE(statement().waived);
  ASSERT_EQ(rows().size(), 2u);
  EXPECT_EQ(rows()[1].tokens, 200);
  EXPECT_EQ(rows()[1].amount.value, 0);
  EXPECT_EQ(balance().spent.value, 0);
  expect_whole();
}

TEST_F(StatementTest, StepsWhoseTokensWereNotKeptAreOneRow) {
  system([&](Transaction& tx) {
    ASSERT_TRUE(JobLeases(tx).add_checkpoint(lease, {2, 300, "ft:c", boost::json::object{{"step", 2}}, {}}, nullptr));
    EXPECT_TRUE(JobLeases(tx).fail(lease, {"training_diverged", "NaN", std::nullopt}));
    billing::settle_job(tx, job.id);
  });
  const auto all = rows();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].first_step, 1);
  EXPECT_EQ(all[0].step, 2);
  EXPECT_EQ(all[0].amount.value, 300'000);
  EXPECT_TRUE(rows(2).empty());
  expect_whole();
}

TEST_F(StatementTest, LongRunsAreBookedInBoundedRows) {
  std::vector<std::int64_t> tokens_after;
  for (std::int64_t step = 1; step <= 25'000; ++step)
    tokens_after.push_back(step / 25);  // 1,000 tokens in all
  checkpoint(lease, tokens_after);
  system([&](Transaction& tx) {
    const auto ranges = tx.execute(
        "SELECT max(upper(steps) - lower(steps)) AS longest, count(*) AS ranges FROM usage WHERE job_id = $1", {job.id});
    EXPECT_EQ(ranges.row(0).integer("longest"), 10'000);
    EXPECT_EQ(ranges.row(0).integer("ranges"), 3);
  });
  const auto page = rows(9'999, 2);
  ASSERT_EQ(page.size(), 2u);
  EXPECT_EQ(page[0].step, 10'000);
  EXPECT_EQ(page[1].trained_tokens, 400);
  succeed(lease, tokens_after);
}

TEST_F(StatementTest, AlteredUsageIsNamed) {
  checkpoint(lease, {100, 300});
  checkpoint(lease, {100, 300, 600});
  const auto superuser = make_superuser_pool();
  const auto faults_after = [&](const std::string& alteration) {
    struct Undo {};
    std::string found;
    try {
      superuser->transact(Scope::system(), [&](Transaction& tx) {
        tx.execute("SET LOCAL session_replication_role = replica");
        EXPECT_GT(tx.execute(alteration + " WHERE job_id = '" + job.id + "' AND upper(steps) = 4").affected_rows(), 0u);
        found = told(billing::verify_ledger(tx).faults);
        throw Undo();
      });
    } catch (const Undo&) {
    }
    return found;
  };
  EXPECT_THAT(faults_after("UPDATE usage SET amount = amount + 1"), HasSubstr("costs 300000 and is booked with 300001"));
  EXPECT_THAT(faults_after("UPDATE usage SET tokens_cum = 601, step_tokens = '{601}'"), HasSubstr("costs 301000"));
  EXPECT_THAT(faults_after("UPDATE usage SET tokens_cum = 299, step_tokens = '{299}', amount = 0"), HasSubstr("fewer tokens"));
  succeed(lease, {100, 300, 600, 1200});
  EXPECT_THAT(faults_after("DELETE FROM usage"), HasSubstr("the range before it ends at 3"));
}

TEST_F(StatementTest, TheMonthIsWhatTheAccountDid) {
  checkpoint(lease, {100, 300});
  succeed(lease, {100, 300, 600, 1200});
  const auto open = create();
  const std::string month = system([](Transaction& tx) {
    return tx.execute("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM') AS month").row(0).text("month");
  });
  const auto of = [&](const std::string& which) {
    return pool().transact(Scope::project(project.id), [&](Transaction& tx) {
      return billing::monthly_statement(tx, billing::LedgerName::kUsdNano, project.id, which);
    });
  };
  const auto made = of(month);
  EXPECT_EQ(made.opening.value, 0);
  EXPECT_EQ(made.closing.value, 10'000'000 - 1'200'000);
  EXPECT_EQ(made.held.value, 1'200'000);
  ASSERT_EQ(made.lines.size(), 2u);
  EXPECT_EQ(made.lines[1].job_id, job.id);
  EXPECT_EQ(made.lines[1].tokens, 1200);
  EXPECT_EQ(made.lines[1].amount.value, -1'200'000);
  EXPECT_EQ(of("2199-01").opening.value, made.closing.value);
  EXPECT_EQ(of("2020-12").closing.value, 0);
  EXPECT_THAT(to_csv(made),
              HasSubstr("post," + made.lines[1].transfer_id.value_or("none") + ",," + job.id + "," + model.name + ",1200,-1200000,8800000,"));
  for (const char* wrong : {"", "2026", "2026-13", "2026-1", "2026-11-01", "x026-11", "2026-0x"})
    EXPECT_THROW(of(wrong), base::UsageError) << wrong;
}

/// A day's answers are one line, between what came before and after the last of them.
TEST_F(StatementTest, TheMonthHasALineOfADaysAnswers) {
  const std::string month = system([](Transaction& tx) {
    return tx.execute("SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM') AS month").row(0).text("month");
  });
  for (int i = 1; i <= 30; ++i) answer({i, 2 * i}, i % 2);
  give_credit(pool(), project, 5);
  const auto made = system([&](Transaction& tx) {
    return billing::monthly_statement(tx, billing::LedgerName::kUsdNano, project.id, month);
  });
  ASSERT_GE(made.lines.size(), 3u);
  ASSERT_LE(made.lines.size(), 4u) << "two days at midnight";
  EXPECT_EQ(made.lines.back().amount.value, 5);
  std::int64_t tokens = 0, amount = 0;
  for (std::size_t i = 1; i + 1 < made.lines.size(); ++i) {
    EXPECT_FALSE(made.lines[i].transfer_id || made.lines[i].job_id);
    EXPECT_EQ(made.lines[i].model, model.name);
    tokens += made.lines[i].tokens.value_or(0);
    amount += made.lines[i].amount.value;
  }
  EXPECT_EQ(tokens, 3 * 465);
  EXPECT_EQ(amount, -3 * 465 * 1'000);
  EXPECT_EQ(made.closing.value, 10'000'000 + 5 + amount);
  EXPECT_EQ(made.held.value, 1'200'000);
  const auto now = balance();
  EXPECT_EQ(made.closing.value, now.available.value + now.held.value);
}

TEST_F(StatementTest, TheExportHasEachTransferOnce) {
  succeed(lease, {100, 300, 600, 1200});
  system([&](Transaction& tx) { billing::Ledger(tx).credit(base::make_uuid(), project.id, {7}, "for \"you\", and me\nboth"); });
  seal_all();
  std::string csv, json;
  EXPECT_EQ(billing::export_transfers(
                pool(), {.format = billing::ExportFormat::kCsv, .ledger = {}, .project_id = project.id, .from = {}, .to = {}},
                [&](const std::string& text) { csv += text; }),
            4);
  EXPECT_EQ(billing::export_transfers(
                pool(), {.format = billing::ExportFormat::kJson, .ledger = {}, .project_id = project.id, .from = {}, .to = {}},
                [&](const std::string& text) { json += text; }),
            4);
  EXPECT_THAT(csv, HasSubstr("\"for \"\"you\"\", and me\nboth\""));
  EXPECT_THAT(csv, testing::StartsWith("seq,id,ledger,position,project_id,kind,"));
  EXPECT_THAT(json, testing::StartsWith("[\n{\"seq\":"));
  EXPECT_THAT(json, testing::EndsWith("}\n]\n"));
  EXPECT_THAT(json, HasSubstr("\"amount\":\"1200000\""));
  EXPECT_EQ(billing::export_transfers(pool(),
                                      {.format = billing::ExportFormat::kCsv,
                                       .ledger = billing::LedgerName::kPointsMicro,
                                       .project_id = {},
                                       .from = {},
                                       .to = 1},
                                      [](const std::string&) {}),
            0);
}

/// docs/billing.md: every statement that stands there to be typed.
TEST_F(StatementTest, TheDocumentsStatementsRunAndAgree) {
  checkpoint(lease, {100, 300});
  succeed(lease, {100, 300, 600, 1200});
  answer({3, 4}, 0);
  seal_all();
  const std::string page = base::read_file(std::filesystem::path(FINETUNED_SOURCE_DIR) / "docs" / "billing.md", 1 << 20);
  std::map<std::string, std::string> statements;  // by their first comment's words
  std::istringstream lines(page);
  std::string line, title;
  while (std::getline(lines, line)) {
    if (line.starts_with("    -- "))
      title = line.substr(7);
    else if (line.starts_with("    ") && !title.empty())
      statements[title] += line + "\n";
    else
      title.clear();
  }
  ASSERT_EQ(statements.size(), 10u);
  system([&](Transaction& tx) {
    const auto run = [&](const std::string& words) {
      const auto found = std::find_if(statements.begin(), statements.end(),
                                      [&](const auto& s) { return s.first.find(words) != std::string::npos; });
      EXPECT_NE(found, statements.end()) << words;
      return tx.execute(found->second.substr(0, found->second.rfind(';')));
    };
    const auto cost = run("what a job cost");
    ASSERT_EQ(cost.size(), 1u);
    EXPECT_EQ(cost.row(0).integer("amount"), 1'200'000);
    EXPECT_EQ(run("I1").row(0).integer("posted_apart"), 0);
    const auto balances = run("I3");
    EXPECT_EQ(balances.row(0).integer("cached"), balances.row(0).integer("replayed"));
    EXPECT_EQ(run("I4").row(0).integer("charged"), 1'200'000);
    EXPECT_EQ(run("I5").size(), 2u);
    const auto answers = run("an answer's tokens");
    ASSERT_EQ(answers.size(), 1u);
    EXPECT_EQ(answers.row(0).integer("charged"), 7'000);
    EXPECT_EQ(answers.row(0).integer("held"), 2'000'000);
    run("I6");  // it runs: what donated workers earn is other tests'
    run("the checks of donated workers");
    EXPECT_EQ(run("the chain").size(), 0u);
    EXPECT_EQ(run("not sealed").size(), 0u);
  });
  make_superuser_pool()->transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("SET LOCAL session_replication_role = replica");
    tx.execute("UPDATE transfer SET amount = amount + 1 WHERE kind = 'post'");
    const std::string& chain = std::find_if(statements.begin(), statements.end(), [](const auto& s) {
                                 return s.first.starts_with("the chain");
                               })->second;
    EXPECT_EQ(tx.execute(chain.substr(0, chain.rfind(';'))).size(), 2u);
    tx.execute("UPDATE inference_usage SET prompt_tokens = prompt_tokens + 1");
    EXPECT_EQ(tx.execute(chain.substr(0, chain.rfind(';'))).size(), 3u);
    tx.execute("UPDATE inference_usage SET prompt_tokens = prompt_tokens - 1");
    tx.execute("UPDATE transfer SET amount = amount - 1 WHERE kind = 'post'");
  });
}

TEST(Csv, QuotesWhatMustBe) {
  EXPECT_EQ(billing::csv_row({"a", "b,c", "\"", "", "x\r\n"}), "a,\"b,c\",\"\"\"\",,\"x\r\n\"\r\n");
}

}  // namespace
}  // namespace finetuned::tests
