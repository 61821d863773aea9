#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/files.h"
#include "billing/admission.h"
#include "billing/ledger.h"
#include "billing/verify.h"
#include "services/intake/intake.h"
#include "services/worker/worker.h"
#include "storage/job_store.h"
#include "tests/integration/platform/data_directory.h"
#include "tests/integration/platform/eventually.h"
#include "tests/integration/platform/tiny_model.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned::worker {

namespace fs = std::filesystem;
namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;
using storage::JobState;

inline constexpr std::int64_t kCredit = 1'000'000'000;

/// A project with credit, a tiny base, and a worker's ways to a job.
class WorkerTest : public testing::Test {
 protected:
  WorkerTest() : project_(tests::make_project(tests::pool())) {
    tests::pool().transact(Scope::system(), [](Transaction& tx) {  // what other tests left behind
      tx.execute("UPDATE job SET state = 'cancelled', lease_until = NULL, finished_at = clock_timestamp()"
                 " WHERE finished_at IS NULL");
      tx.execute("UPDATE file SET deleted_at = clock_timestamp()");
    });
    tests::give_credit(tests::pool(), project_, kCredit);
    model_ = data_.import_tiny_model(tests::pool());
    options_.name = "test";
    options_.scratch_directory = data_.path() / "jobs";
    options_.link.heartbeat = std::chrono::milliseconds(500);
    options_.link.peek = std::chrono::milliseconds(100);
  }

  storage::File checked_file(int rows) {
    const auto file = data_.upload(tests::pool(), project_, tests::chat_dataset(rows));
    intake::IntakeOptions options;
    options.owner = "test";
    intake::Intake intake(tests::pool(), data_.store(), options);
    while (intake.check_one({})) {
    }
    return file;
  }

  storage::Job create_job(const json::object& settings, int rows = 12, const std::string& model = "") {
    storage::NewJob job = tests::new_job(project_, model_, checked_file(rows));
    job.hyperparameters = settings;
    job.method = json::object{{"type", "supervised"}, {"supervised", json::object{{"hyperparameters", settings}}}};
    if (!model.empty()) job.model = model;
    job.suffix = "fruit";
    return tests::pool().transact(Scope::project(project_.id),
                                  [&](Transaction& tx) { return billing::create_job(tx, job); });
  }

  void run_one(const std::stop_token& stop = {}) {
    Worker worker(tests::pool(), data_.store(), options_);
    ASSERT_TRUE(worker.run_one(stop));
  }

  storage::Job job(const std::string& id) {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) { return *storage::JobStore(tx).find(id); });
  }
  billing::Balance balance() {
    return tests::pool().transact(Scope::system(),
                                  [&](Transaction& tx) { return billing::Ledger(tx).balance(project_.id); });
  }
  std::vector<billing::LedgerFault> ledger_faults() {
    return tests::pool()
        .transact(Scope::system(), [](Transaction& tx) { return billing::verify_ledger(tx); })
        .faults;
  }
  std::vector<storage::Event> events(const std::string& id) {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      return storage::JobStore(tx)
          .list_events(id, {.after = std::nullopt, .limit = 10'000, .ascending = true})
          .data;
    });
  }
  std::vector<storage::Checkpoint> checkpoints(const std::string& id) {
    return tests::pool().transact(Scope::system(), [&](Transaction& tx) {
      return storage::JobStore(tx)
          .list_checkpoints(id, {.after = std::nullopt, .limit = 1'000, .ascending = true})
          .data;
    });
  }
  /// The content of one of a job's result files.
  std::string result(const std::string& id, const std::string& name) {
    for (const std::string& file_id : job(id).result_files) {
      const auto file = tests::pool().transact(
          Scope::system(), [&](Transaction& tx) { return *storage::FileStore(tx).find(file_id); });
      if (file.filename != name) continue;
      objects::fetch_file(data_.store(), file.object_id, data_.path() / name);
      return base::read_file(data_.path() / name, 1 << 20);
    }
    return "";
  }
  bool scratch_is_empty() const {
    for (const auto& entry : fs::directory_iterator(options_.scratch_directory))
      if (entry.is_directory()) return false;
    return true;
  }

  tests::DataDirectory data_;
  storage::Project project_;
  storage::BaseModel model_;
  WorkerOptions options_;
};

inline json::object settings(int epochs, int batch_size = 4) {
  return {{"n_epochs", epochs}, {"batch_size", batch_size}, {"learning_rate", 1e-3}, {"lora_rank", 4}};
}

}  // namespace finetuned::worker
