#include "base/ids.h"
#include "billing/admission.h"
#include "billing/settlement.h"
#include "billing/usage.h"
#include "storage/job_leases.h"
#include "storage/job_store.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

class StatementsTest : public GatewayTest {
 protected:
  /// A job of 1,200 tokens whose steps 1 and 2 of 4 a checkpoint has committed.
  storage::JobLease begin_job() {
    give_credit(pool(), tenant_.project, 10'000'000);
    const auto model = make_base_model(pool());
    const auto file = make_counted_file(pool(), tenant_.project, model, {100, 200, 300});
    job_ = new_job(tenant_.project, model, file, 2).id;
    auto job = new_job(tenant_.project, model, file, 2);
    job.id = job_;
    return pool().transact(Scope::system(), [&](Transaction& tx) {
      billing::create_job(tx, job);
      tx.execute("UPDATE job SET queued_at = '2000-01-01' WHERE id = $1", {job.id});
      storage::JobLeases leases(tx);
      const auto lease = leases.claim("test", 60)->lease;
      leases.add_checkpoint(lease, {2, 300, "ft:c", json::object{{"step", 2}}, {}}, nullptr);
      billing::book_usage(tx, job.id, lease.epoch, std::vector<std::int64_t>{100, 300});
      return lease;
    });
  }
  void end_job(const storage::JobLease& lease) {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      storage::JobLeases leases(tx);
      leases.set_progress(lease, 4, 4, 1200, std::nullopt);
      leases.succeed(lease, "ft:" + job_, {}, 1200);
      billing::book_usage(tx, job_, lease.epoch, std::vector<std::int64_t>{100, 300, 600, 1200});
      billing::settle_job(tx, job_);
    });
  }
  std::string path(const std::string& query = "") const { return "/v1/fine_tuning/jobs/" + job_ + "/statement" + query; }

  std::string job_;
};

TEST_F(StatementsTest, AJobsStatementHasARowAStepAndIsItsBill) {
  const auto lease = begin_job();
  const json::value running = get(path()).json();
  EXPECT_EQ(running.at("object"), "fine_tuning.job.statement");
  EXPECT_EQ(running.at("final"), false);
  EXPECT_EQ(running.at("amount"), "300000");
  EXPECT_EQ(running.at("held"), "1200000");
  EXPECT_TRUE(running.at("returned").is_null());
  EXPECT_EQ(running.at("data").as_array().size(), 2u);
  EXPECT_EQ(running.at("data").at(1).at("transfer_id"), running.at("hold_id"));
  end_job(lease);
  const json::value done = get(path()).json();
  EXPECT_EQ(done.at("final"), true);
  EXPECT_EQ(done.at("status"), "succeeded");
  EXPECT_EQ(done.at("amount"), "1200000");
  EXPECT_EQ(done.at("returned"), "0");
  EXPECT_EQ(done.at("given_back"), "0");
  EXPECT_EQ(done.at("price_per_1k_tokens"), "1000000");
  EXPECT_EQ(done.at("trained_tokens"), get("/v1/fine_tuning/jobs/" + job_).json().at("trained_tokens"));
  const json::value& row = done.at("data").at(1);
  EXPECT_EQ(row.at("step"), 2);
  EXPECT_EQ(row.at("tokens"), 200);
  EXPECT_EQ(row.at("trained_tokens"), 300);
  EXPECT_EQ(row.at("amount"), "200000");
  EXPECT_TRUE(row.at("checkpoint_id").is_string());
  EXPECT_TRUE(done.at("data").at(3).at("checkpoint_id").is_null());
  const json::value transfers = get("/v1/billing/transfers").json();
  EXPECT_EQ(transfers.at("data").at(0).at("id"), row.at("transfer_id"));
  EXPECT_EQ(transfers.at("data").at(0).at("amount"), done.at("amount"));
}

TEST_F(StatementsTest, PagesAndCsvHaveEveryRow) {
  end_job(begin_job());
  const json::value first = get(path("?limit=3")).json();
  EXPECT_EQ(first.at("has_more"), true);
  EXPECT_EQ(first.at("last_step"), 3);
  const json::value rest = get(path("?limit=3&after=3")).json();
  EXPECT_EQ(rest.at("has_more"), false);
  EXPECT_EQ(rest.at("data").at(0).at("step"), 4);
  Wire wire(gateway_->port());
  Call request;
  request.path = path("?format=csv");
  request.key = tenant_.key;
  ASSERT_TRUE(wire.send(to_bytes(request)));
  const std::string csv = wire.read_until("\r\n0\r\n\r\n");  // it comes in chunks
  EXPECT_NE(csv.find("text/csv; charset=utf-8"), std::string::npos) << csv;
  EXPECT_NE(csv.find("first_step,step,tokens,trained_tokens,amount,checkpoint_id,transfer_id\r\n1,1,100,100,100000,ftckpt-"), std::string::npos) << csv;
  EXPECT_NE(csv.find("\r\n2,2,200,300,200000,ftckpt-"), std::string::npos) << csv;
  EXPECT_NE(csv.find("\r\n4,4,600,1200,600000,,"), std::string::npos) << csv;
  for (const char* wrong : {"?limit=0", "?limit=1001", "?after=-1", "?after=x", "?format=xml"})
    EXPECT_EQ(get(path(wrong)).status, 400) << wrong;
}

TEST_F(StatementsTest, AnothersJobHasNone) {
  begin_job();
  const auto other = make_tenant();
  EXPECT_EQ(send_as(other.key, "GET", path()).status, 404);
  EXPECT_EQ(send_as(other.key, "GET", path("?format=csv")).status, 404);
  EXPECT_EQ(get("/v1/fine_tuning/jobs/ftjob-none/statement").status, 404);
}

TEST_F(StatementsTest, TheMonthIsShownToItsProject) {
  end_job(begin_job());
  const json::value empty = get("/v1/billing/statement?month=2199-01").json();
  EXPECT_EQ(empty.at("opening"), "8800000");
  EXPECT_EQ(empty.at("closing"), "8800000");
  const json::value past = get("/v1/billing/statement?month=2020-01").json();
  EXPECT_EQ(past.at("closing"), "0");
  EXPECT_EQ(get("/v1/billing/statement").status, 400);
  EXPECT_EQ(get("/v1/billing/statement?month=2026-13").json().at("error").at("param"), "month");
  EXPECT_EQ(get("/v1/billing/statement?month=2020-01&format=csv").body,
            "created_at,kind,transfer_id,corrects_id,job_id,model,tokens,amount,balance,reason\r\n");
}

}  // namespace
}  // namespace finetuned::tests
