#include "billing/admission.h"

#include <gtest/gtest.h>

#include "base/ids.h"
#include "billing/ledger.h"
#include "billing/verify.h"
#include "billing/settlement.h"
#include "storage/intake_store.h"
#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned {
namespace {

using postgres::Scope;
using postgres::Transaction;
using storage::JobLeases;
using storage::JobState;
using storage::JobStore;
using tests::pool;

constexpr std::int64_t kNanoPerToken = 1000;

class Admission : public testing::Test {
 protected:
  template <class Work>
  static auto system(Work work) {
    return pool().transact(Scope::system(), work);
  }

  void SetUp() override {
    system([](Transaction& tx) {  // other tests' jobs
      tx.execute("UPDATE job SET state = 'cancelled', finished_at = clock_timestamp(), lease_until = NULL"
                 " WHERE finished_at IS NULL");
      billing::settle_ended_jobs(tx, 1000);
    });
  }
  void TearDown() override {
    const auto verification = pool().transact(Scope::system(), billing::verify_ledger);
    for (const auto& fault : verification.faults) ADD_FAILURE() << fault.rule << " " << fault.detail;
  }

  template <class Work>
  auto in_project(Work work) {
    return pool().transact(Scope::project(project.id), work);
  }

  storage::Project project = tests::make_project(pool());
  storage::BaseModel model = tests::make_base_model(pool(), 512);

  storage::Job create(const storage::NewJob& job) {
    return in_project([&](Transaction& tx) { return billing::create_job(tx, job); });
  }
  billing::Balance balance() {
    return in_project([&](Transaction& tx) { return billing::Ledger(tx).balance(project.id); });
  }
  storage::Job find(const std::string& id) {
    return *in_project([&](Transaction& tx) { return JobStore(tx).find(id); });
  }
  storage::JobLease claim() {
    return system([](Transaction& tx) { return JobLeases(tx).claim("worker-1", 30); })->lease;
  }
  std::string error_of(const storage::NewJob& job) {
    try {
      create(job);
    } catch (const base::ApiError& error) {
      message = error.what();
      status = error.status;
      return error.code;
    }
    return "";
  }
  std::string message;
  int status = 0;
};

TEST_F(Admission, ACountedFileIsQuotedHeldAndQueuedInOneCommit) {
  tests::give_credit(pool(), project, 2'000'000);
  const auto file = tests::make_counted_file(pool(), project, model, {100, 200, 300});
  const auto job = create(tests::new_job(project, model, file, 3));
  EXPECT_EQ(job.state, JobState::kQueued);
  EXPECT_EQ(job.quoted_tokens, 1800);
  EXPECT_EQ(job.quoted_nano, 1800 * kNanoPerToken);
  EXPECT_EQ(balance().held.value, 1800 * kNanoPerToken);
  EXPECT_EQ(balance().available.value, 200'000);
  const auto messages = system([&](Transaction& tx) {
    return tx.execute("SELECT stream FROM outbox WHERE payload = $1", {job.id}).row(0).text("stream");
  });
  EXPECT_EQ(messages, "finetuned:jobs");
  EXPECT_EQ(in_project([&](Transaction& tx) { return JobStore(tx).list_events(job.id, {}); }).data.size(), 2u);
}

TEST_F(Admission, TooLittleCreditCreatesNothingAndNamesTheShortfall) {
  tests::give_credit(pool(), project, 1'000'000);
  const auto file = tests::make_counted_file(pool(), project, model, {100, 200, 300});
  const auto job = tests::new_job(project, model, file, 3);
  EXPECT_EQ(error_of(job), "insufficient_quota");
  EXPECT_EQ(status, 429);
  EXPECT_NE(message.find("$0.0008"), std::string::npos) << message;
  EXPECT_FALSE(in_project([&](Transaction& tx) { return JobStore(tx).find(job.id); }));
  EXPECT_EQ(balance().available.value, 1'000'000);
}

TEST_F(Admission, AnArchivedProjectTakesNoJob) {
  const auto file = tests::make_counted_file(pool(), project, model, {100});
  system([&](Transaction& tx) { tx.execute("UPDATE project SET archived_at = clock_timestamp() WHERE id = $1", {project.id}); });
  EXPECT_EQ(error_of(tests::new_job(project, model, file, 1)), "project_archived");
}

TEST_F(Admission, ALimitBelowWhatIsSpentRefusesNothingThatCostsNothing) {
  tests::give_credit(pool(), project, 20'000'000);
  const auto file = tests::make_counted_file(pool(), project, model, {500});
  create(tests::new_job(project, model, file, 30));  // 1.5 cents
  system([&](Transaction& tx) {
    tx.execute("INSERT INTO spend_limit (project_id, organization_id, threshold_cents) VALUES ($1, $2, 1)", {project.id, project.organization_id});
    tx.execute("INSERT INTO price (organization_id, base_model, method, nano_per_1k, valid_from)"
               " VALUES ($1, $2, 'supervised', 0, clock_timestamp())", {project.organization_id, model.name});
  });
  EXPECT_EQ(error_of(tests::new_job(project, model, file, 30)), "");
}

TEST_F(Admission, RowsBeyondTheContextNeedAnExplicitCut) {
  tests::give_credit(pool(), project, 10'000'000);
  const auto file = tests::make_counted_file(pool(), project, model, {100, 700, 513});
  auto job = tests::new_job(project, model, file, 2);
  EXPECT_EQ(error_of(job), "row_exceeds_context");
  EXPECT_EQ(status, 400);
  EXPECT_NE(message.find("Line 2"), std::string::npos) << message;
  EXPECT_NE(message.find("max_seq_length"), std::string::npos) << message;
  job.method.at("supervised").at("hyperparameters").as_object()["max_seq_length"] = 256;
  EXPECT_EQ(create(job).quoted_tokens, 2 * (100 + 256 + 256));
  job.id = base::make_id("ftjob");
  job.method.at("supervised").at("hyperparameters").as_object()["max_seq_length"] = 100'000;
  EXPECT_EQ(create(job).quoted_tokens, 2 * (100 + 512 + 512)) << "never beyond the context";
}

TEST_F(Admission, BadFilesAreNamed) {
  tests::give_credit(pool(), project, 10'000'000);
  const auto file = tests::make_counted_file(pool(), project, model, {100});
  auto job = tests::new_job(project, model, file);
  job.training_file = "file-none";
  EXPECT_EQ(error_of(job), "invalid_training_file");
  const auto other = tests::make_project(pool());
  job.training_file = tests::make_counted_file(pool(), other, model, {100}).id;
  EXPECT_EQ(error_of(job), "invalid_training_file") << "another project's file is no file";
  job.training_file = file.id;
  job.validation_file = "file-none";
  EXPECT_EQ(error_of(job), "invalid_validation_file");
}

TEST_F(Admission, AnUncountedFileWaitsAndIsAdmittedByTheScheduler) {
  tests::give_credit(pool(), project, 1'000'000);
  const auto file = tests::make_file(pool(), project);
  const auto job = create(tests::new_job(project, model, file));
  EXPECT_EQ(job.state, JobState::kValidatingFiles);
  EXPECT_EQ(balance().held.value, 0);
  EXPECT_EQ(system([](Transaction& tx) { return billing::admit_waiting_jobs(tx, 10).size(); }), 0u);
  system([&](Transaction& tx) {
    tx.execute("UPDATE file SET intake_epoch = 9, intake_until = clock_timestamp() + interval '1 min' WHERE id = $1",
               {file.id});
    storage::IntakeStore intake(tx);
    storage::TokenCounts counts;
    counts.file_id = file.id;
    counts.tokenizer_fingerprint = model.tokenizer_fingerprint;
    counts.rows = 1;
    counts.tokens = counts.longest_tokens = 50;
    counts.longest_line = 1;
    counts.row_tokens = {50};
    EXPECT_TRUE(intake.put_counts({file.id, 9}, counts));
    EXPECT_TRUE(intake.finish({file.id, 9}, storage::FileStatus::kProcessed, std::nullopt, {}));
  });
  EXPECT_EQ(system([](Transaction& tx) { return billing::admit_waiting_jobs(tx, 10).size(); }), 1u);
  EXPECT_EQ(find(job.id).state, JobState::kQueued);
  EXPECT_EQ(balance().held.value, 50 * kNanoPerToken);
}

TEST_F(Admission, AJobWhoseFileExpiresWhileItWaitsIsAdmitted) {
  tests::give_credit(pool(), project, 1'000'000'000);
  const auto file = tests::make_counted_file(pool(), project, model, std::vector<std::uint32_t>(10, 100));
  const auto job = tests::new_job(project, model, file);
  in_project([&](Transaction& tx) { JobStore(tx).insert(job); });  // as before intake has counted the file
  system([&](Transaction& tx) {
    tx.execute("UPDATE file SET expires_at = clock_timestamp() - interval '1 h' WHERE id = $1", {file.id});
    EXPECT_TRUE(storage::FileStore(tx).remove_expired(100).empty());
  });
  EXPECT_EQ(system([](Transaction& tx) { return billing::admit_waiting_jobs(tx, 10).size(); }), 1u);
  EXPECT_EQ(find(job.id).state, JobState::kQueued);
}

/// The oldest ones were looked at again and again, and no other project's job was admitted meanwhile.
TEST_F(Admission, JobsThatWaitForIntakeHoldUpNoOthers) {
  const auto slow = tests::make_file(pool(), project);
  for (int i = 0; i < 3; ++i) create(tests::new_job(project, model, slow));
  tests::give_credit(pool(), project, 1'000'000);
  const auto quick = tests::make_file(pool(), project);
  const auto job = create(tests::new_job(project, model, quick));
  system([&](Transaction& tx) {
    tx.execute("UPDATE file SET status = 'processed' WHERE id = $1", {quick.id});
    tx.execute("INSERT INTO file_tokens (file_id, tokenizer_fingerprint, project_id, row_count, tokens,"
               " supervised_tokens, longest_tokens, longest_line, row_tokens)"
               " VALUES ($1, $2, $3, 1, 9, 1, 9, 1, '\\x09000000')",
               {quick.id, model.tokenizer_fingerprint, project.id});
  });
  EXPECT_EQ(system([](Transaction& tx) { return billing::admit_waiting_jobs(tx, 2).size(); }), 1u);
  EXPECT_EQ(find(job.id).state, JobState::kQueued);
}

TEST_F(Admission, AWaitingJobFailsOnABadFileOrAnEmptyPurse) {
  const auto bad = tests::make_file(pool(), project);
  const auto good = tests::make_file(pool(), project);
  const auto of_bad = create(tests::new_job(project, model, bad));
  const auto of_good = create(tests::new_job(project, model, good));
  system([&](Transaction& tx) {
    tx.execute("UPDATE file SET status = 'error', status_details = '3 faults' WHERE id = $1", {bad.id});
    tx.execute("UPDATE file SET status = 'processed' WHERE id = $1", {good.id});
    tx.execute("INSERT INTO file_tokens (file_id, tokenizer_fingerprint, project_id, row_count, tokens,"
               " supervised_tokens, longest_tokens, longest_line, row_tokens)"
               " VALUES ($1, $2, $3, 1, 9, 1, 9, 1, '\\x09000000')",
               {good.id, model.tokenizer_fingerprint, project.id});
  });
  EXPECT_EQ(system([](Transaction& tx) { return billing::admit_waiting_jobs(tx, 10).size(); }), 2u);
  EXPECT_EQ(find(of_bad.id).error->code, "invalid_training_file");
  EXPECT_EQ(find(of_good.id).error->code, "insufficient_quota");
  EXPECT_EQ(find(of_good.id).state, JobState::kFailed);
  EXPECT_EQ(system([](Transaction& tx) { return billing::settle_ended_jobs(tx, 10); }), 2u);
}

class Settlement : public Admission {
 protected:
  storage::Job job;

  void SetUp() override {
    Admission::SetUp();
    tests::give_credit(pool(), project, 10'000'000);
    job = create(tests::new_job(project, model, tests::make_counted_file(pool(), project, model, {100, 200, 300}), 2));
  }

  void expect_settled(std::int64_t tokens) {
    const auto after = balance();
    EXPECT_EQ(after.held.value, 0);
    EXPECT_EQ(after.spent.value, tokens * kNanoPerToken);
    EXPECT_EQ(after.available.value, 10'000'000 - tokens * kNanoPerToken);
    EXPECT_TRUE(find(job.id).settled);
  }

  static bool checkpoint(Transaction& tx, const storage::JobLease& lease, std::int64_t step, std::int64_t tokens) {
    return JobLeases(tx).add_checkpoint(lease, {step, tokens, "ft:c", boost::json::object{{"step", step}}, {}}, nullptr);
  }
};

TEST_F(Settlement, SuccessPaysItsTokensOnce) {
  const auto lease = claim();
  const auto settled = in_project([&](Transaction& tx) {
    JobLeases leases(tx);
    EXPECT_TRUE(leases.set_progress(lease, 2, 2, 1200, std::nullopt));
    EXPECT_TRUE(leases.succeed(lease, "ft:m", {}, 1200));
    return billing::settle_job(tx, job.id);
  });
  ASSERT_TRUE(settled);
  EXPECT_EQ(settled->billed_tokens, 1200);
  EXPECT_EQ(settled->returned.value, 0);
  EXPECT_FALSE(in_project([&](Transaction& tx) { return billing::settle_job(tx, job.id); }));
  expect_settled(1200);
}

TEST_F(Settlement, StoppingEarlyReturnsWhatWasNotTrained) {
  const auto lease = claim();
  in_project([&](Transaction& tx) {
    EXPECT_TRUE(JobLeases(tx).set_progress(lease, 3, 6, 600, std::nullopt));
    EXPECT_TRUE(JobLeases(tx).succeed(lease, "ft:m", {}, 600));
    EXPECT_EQ(billing::settle_job(tx, job.id)->returned.value, 600 * kNanoPerToken);
    const auto usage = tx.execute("SELECT upper(steps) - 1 AS last FROM usage WHERE job_id = $1", {job.id});
    EXPECT_EQ(usage.row(0).integer("last"), 3);  // not the 6 that were planned
  });
  expect_settled(600);
}

TEST_F(Settlement, CancelledPaysUpToItsLastCheckpoint) {
  const auto lease = claim();
  in_project([&](Transaction& tx) {
    EXPECT_TRUE(checkpoint(tx, lease, 1, 400));
    EXPECT_TRUE(JobLeases(tx).set_progress(lease, 2, 3, 800, std::nullopt));
    JobStore(tx).request_cancel(job.id);
    EXPECT_TRUE(JobLeases(tx).finish_cancelled(lease));
    billing::settle_job(tx, job.id);
  });
  EXPECT_EQ(find(job.id).trained_tokens, 400);
  expect_settled(400);
}

TEST_F(Settlement, CancelledBeforeItRanPaysNothing) {
  in_project([&](Transaction& tx) {
    JobStore(tx).request_cancel(job.id);
    EXPECT_EQ(billing::settle_job(tx, job.id)->charged.value, 0);
  });
  expect_settled(0);
}

TEST_F(Settlement, FailedByTheUsersDataPaysItsCheckpointsAndByOurFaultNothing) {
  const auto lease = claim();
  in_project([&](Transaction& tx) {
    EXPECT_TRUE(checkpoint(tx, lease, 1, 400));
    EXPECT_TRUE(JobLeases(tx).fail(lease, {"invalid_training_file", "row 7", "training_file"}));
    billing::settle_job(tx, job.id);
  });
  expect_settled(400);
}

TEST_F(Settlement, CrashesBillNothingHoweverFarTheyCame) {
  for (int crash = 1; crash <= 3; ++crash) {
    const auto lease = claim();
    system([&](Transaction& tx) {
      EXPECT_TRUE(checkpoint(tx, lease, crash, 400));
      tx.execute("UPDATE job SET lease_until = clock_timestamp() WHERE id = $1", {job.id});
    });
    system([](Transaction& tx) {
      for (const auto& swept : JobLeases(tx).sweep(3, 10))
        if (storage::is_terminal(swept.state)) billing::settle_job(tx, swept.id);
    });
  }
  EXPECT_EQ(find(job.id).error->code, "worker_crashed");
  expect_settled(0);
}

TEST_F(Settlement, ASecondBillOfTheSameStepsIsRefusedByTheDatabase) {
  const auto lease = claim();
  in_project([&](Transaction& tx) {
    EXPECT_TRUE(JobLeases(tx).succeed(lease, "ft:m", {}, 1200));
    billing::settle_job(tx, job.id);
  });
  try {
    in_project([&](Transaction& tx) {
      tx.execute("INSERT INTO usage (job_id, project_id, metric, steps, tokens_cum, amount, lease_epoch, transfer_id)"
                 " SELECT job_id, project_id, metric, int8range(1, 2), 1, 1, lease_epoch, transfer_id FROM usage"
                 " WHERE job_id = $1",
                 {job.id});
    });
    FAIL() << "the same step was billed twice";
  } catch (const postgres::SqlError& error) {
    EXPECT_TRUE(error.is_exclusion_violation());
  }
}

TEST_F(Settlement, OpenHoldsOfEndedJobsAreFoundAndSettled) {
  const auto lease = claim();
  in_project([&](Transaction& tx) { EXPECT_TRUE(JobLeases(tx).succeed(lease, "ft:m", {}, 1200)); });
  EXPECT_EQ(balance().held.value, 1200 * kNanoPerToken);
  EXPECT_EQ(system([](Transaction& tx) { return billing::settle_ended_jobs(tx, 10); }), 1u);
  EXPECT_EQ(system([](Transaction& tx) { return billing::settle_ended_jobs(tx, 10); }), 0u);
  expect_settled(1200);
}

}  // namespace
}  // namespace finetuned
