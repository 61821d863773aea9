#pragma once

#include "billing/donations.h"
#include "storage/donation_evidence.h"
#include "storage/donation_store.h"
#include "tests/integration/billing/books_fixture.h"

namespace finetuned::tests {

/// A job of a project, and a donated worker that earns for another.
class DonationsTest : public BooksTest {
 public:
  struct Points {
    std::int64_t spendable = 0, pending = 0;
    bool operator==(const Points&) const = default;
  };

 protected:
  DonationsTest() {
    give_credit(pool(), project, 1'000'000'000);
    system([&](Transaction& tx) { storage::DonationStore(tx).donate(name, donor.id); });
  }

  ~DonationsTest() override {
    system([&](Transaction& tx) { tx.execute("UPDATE job SET state = 'paused' WHERE state = 'queued' AND project_id = $1", {project.id}); });
  }

  struct Part {
    storage::JobLease lease;
    std::string stretch;
  };
  /// A donated worker has the job.
  Part begin(const storage::Job& job) { return begin(job, name); }
  Part begin(const storage::Job& job, const std::string& worker) {
    return system([&](Transaction& tx) {
      tx.execute("UPDATE job SET state = 'paused' WHERE state = 'queued' AND id <> $1", {job.id});  // what other tests left
      const auto claimed = storage::JobLeases(tx).claim("process", 60);
      EXPECT_EQ(claimed->job.id, job.id);
      storage::DonationStore donations(tx);
      return Part{claimed->lease, donations.begin_stretch(*claimed, *donations.find(worker), engine)};
    });
  }
  bool commit(const Part& part, const std::vector<std::int64_t>& tokens_after) {
    return system([&](Transaction& tx) {
      const auto step = static_cast<std::int64_t>(tokens_after.size());
      if (!storage::JobLeases(tx).add_checkpoint(
              part.lease, {step, tokens_after.back(), "ft:c", boost::json::object{{"step", step}}, {}}, nullptr))
        return false;
      billing::earn(tx, part.stretch, tokens_after);
      billing::book_usage(tx, part.lease.job_id, part.lease.epoch, tokens_after);
      return true;
    });
  }
  /// The lease ends as if its process were dead; the job waits again, where `state` was saved.
  void lose(const storage::JobLease& lease, std::optional<storage::SavedState> state = std::nullopt) {
    system([&](Transaction& tx) {
      if (state)
        tx.execute("UPDATE job SET state_object = $2, state_step = $3, state_tokens = $4 WHERE id = $1",
                   {lease.job_id, state->object_id, state->step, state->trained_tokens});
      tx.execute("UPDATE job SET lease_until = clock_timestamp() WHERE id = $1", {lease.job_id});
      storage::JobLeases(tx).sweep(100, 10'000);
    });
  }
  Points points(const std::string& of) {
    return system([&](Transaction& tx) {
      billing::Ledger ledger(tx, billing::LedgerName::kPointsMicro);
      return Points{ledger.balance(of).available.value, ledger.escrowed(of).value};
    });
  }
  Points points() { return points(donor.id); }
  std::vector<billing::LedgerFault> faults() {
    return system([](Transaction& tx) { return billing::verify_ledger(tx); }).faults;
  }
  void set_price(const storage::Job& job, std::int64_t nano_per_1k) {
    system([&](Transaction& tx) {
      tx.execute("WITH made AS (INSERT INTO price (method, nano_per_1k, base_model, valid_from) VALUES ('supervised', $2, $3, clock_timestamp())"
                 " RETURNING version) UPDATE job SET price_version = (SELECT version FROM made), quoted_nano = 1000000000 WHERE id = $1",
                 {job.id, nano_per_1k, model.name});
    });
  }

  const std::string engine = std::string(64, 'a');
  const std::string name = "donated-" + base::make_id("w").substr(2);
  storage::Project donor = make_project(pool());
};

}  // namespace finetuned::tests
