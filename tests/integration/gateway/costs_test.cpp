#include "base/ids.h"
#include "billing/ledger.h"
#include "storage/job_store.h"
#include "tests/integration/gateway/admin_fixture.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

using billing::Ledger;
using postgres::Scope;
using postgres::Transaction;

class CostsTest : public AdminTest {
 protected:
  /// A job that was charged for some tokens; returns the hold.
  std::string charge(const storage::Project& project, const storage::BaseModel& model, std::int64_t nano, std::int64_t tokens) {
    const auto job = new_job(project, model, make_file(pool(), project));
    const std::string hold = base::make_uuid(), post = base::make_uuid();
    give_credit(pool(), project, 2 * nano);
    pool().transact(Scope::system(), [&](Transaction& tx) {
      storage::JobStore(tx).insert(job);
      Ledger ledger(tx);
      ledger.hold(hold, project.id, {2 * nano}, job.id, 1);
      ledger.post(post, hold, {nano}, "trained");
      tx.execute("INSERT INTO usage (job_id, project_id, metric, steps, tokens_cum, amount, lease_epoch, transfer_id)"
                 " VALUES ($1, $2, 'trained_tokens', '[1,9)', $3, $4, 1, $5::uuid)",
                 {job.id, project.id, tokens, nano, hold});
    });
    return hold;
  }
  std::int64_t now() {
    return pool().transact(Scope::system(), [](Transaction& tx) {
      return tx.execute("SELECT extract(epoch FROM clock_timestamp())::bigint AS now").row(0).integer("now");
    });
  }
  base::json::value costs(const std::string& more) {
    return done("GET", "/costs?start_time=" + std::to_string(now() - 2 * 86400) + more);
  }
  /// All results of all days.
  static base::json::array results(const base::json::value& page) {
    base::json::array all;
    for (const auto& bucket : page.at("data").as_array())
      for (const auto& result : bucket.at("results").as_array()) all.push_back(result);
    return all;
  }

  const storage::BaseModel model_ = make_base_model(pool()), other_model_ = make_base_model(pool());
};

TEST_F(CostsTest, AreThePostedChargesOfTheOrganization) {
  charge(tenant_.project, model_, 1'234'567'891, 1500);
  charge(tenant_.project, other_model_, 1, 7);
  charge(make_tenant().project, model_, 999, 999);
  const auto all = results(costs(""));
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].at("object"), "organization.costs.result");
  EXPECT_EQ(all[0].at("amount").at("currency"), "usd");
  EXPECT_DOUBLE_EQ(all[0].at("amount").at("value").as_double(), 1.234567892);
  for (const char* key : {"line_item", "project_id", "api_key_id", "quantity", "quantity_unit"})
    EXPECT_TRUE(all[0].at(key).is_null()) << key;
  const auto itemized = results(costs("&group_by[]=line_item&group_by[]=project_id"));
  ASSERT_EQ(itemized.size(), 2u);
  for (const auto& one : itemized) {
    const bool first = text(one.at("line_item")) == "fine-tuning training, " + model_.name;
    EXPECT_DOUBLE_EQ(one.at("amount").at("value").to_number<double>(), first ? 1.234567891 : 1e-9);
    EXPECT_DOUBLE_EQ(one.at("quantity").to_number<double>(), first ? 1.5 : 0.007);
    EXPECT_EQ(one.at("quantity_unit"), "1000_tokens");
    EXPECT_EQ(text(one.at("project_id")), tenant_.project.id);
  }
  const Answer raw = admin("GET", "/costs?start_time=" + std::to_string(now() - 60));
  EXPECT_NE(raw.body.find("\"value\":1.234567892,"), std::string::npos) << raw.body;
  EXPECT_EQ(raw.header("content-type"), "application/json");
}

TEST_F(CostsTest, StandInTheDayOfTheirCharge) {
  const std::string hold = charge(tenant_.project, model_, 500, 5);
  const std::int64_t yesterday = now() - 86400;
  const std::string second = base::make_uuid();
  pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("INSERT INTO transfer (id, project_id, ledger, debit_id, credit_id, amount, kind, job_id, price_version, reason)"
               " SELECT $2::uuid, project_id, ledger, debit_id, credit_id, 40, kind, job_id, price_version, reason"
               " FROM transfer WHERE id = $1::uuid", {hold, second});
    tx.execute("INSERT INTO transfer (id, project_id, ledger, debit_id, credit_id, amount, kind, pending_id, reason, created_at)"
               " SELECT gen_random_uuid(), project_id, ledger, debit_id, credit_id, 40, 'post', id, reason, to_timestamp($2::bigint)"
               " FROM transfer WHERE id = $1::uuid", {second, yesterday});
  });
  const auto page = costs("");
  ASSERT_EQ(page.at("data").as_array().size(), 3u);
  const auto& days = page.at("data").as_array();
  EXPECT_TRUE(days[0].at("results").as_array().empty());
  EXPECT_DOUBLE_EQ(days[1].at("results").at(0).at("amount").at("value").as_double(), 40e-9);
  EXPECT_DOUBLE_EQ(days[2].at("results").at(0).at("amount").at("value").as_double(), 500e-9);
  EXPECT_EQ(days[1].at("end_time"), days[2].at("start_time"));
  const auto first = costs("&limit=2");
  EXPECT_EQ(results(first).size(), 1u);
  EXPECT_EQ(results(costs("&limit=2&page=" + text(first.at("next_page")))).size(), 1u);
}

TEST_F(CostsTest, AreFilteredAndForAdministrators) {
  charge(tenant_.project, model_, 500, 5);
  const Tenant stranger = make_tenant();
  charge(stranger.project, model_, 600, 5);
  EXPECT_EQ(results(costs("&project_ids[]=" + tenant_.project.id)).size(), 1u);
  EXPECT_TRUE(results(costs("&project_ids[]=" + stranger.project.id)).empty()) << "another organization's";
  EXPECT_TRUE(results(costs("&api_key_ids[]=key-1")).empty());
  EXPECT_EQ(admin("GET", "/costs").param(), "start_time");
  EXPECT_EQ(send_as(tenant_.key, "GET", "/v1/organization/costs?start_time=0").status, 403);
}

TEST_F(CostsTest, HoldsAndCreditsAreNone) {
  give_credit(pool(), tenant_.project, 1000);
  const auto job = new_job(tenant_.project, model_, make_file(pool(), tenant_.project));
  pool().transact(Scope::system(), [&](Transaction& tx) {
    storage::JobStore(tx).insert(job);
    Ledger ledger(tx);
    const std::string hold = base::make_uuid();
    ledger.hold(base::make_uuid(), tenant_.project.id, {100}, job.id, 1);
    ledger.hold(hold, tenant_.project.id, {100}, job.id, 1);
    ledger.release(base::make_uuid(), hold, "cancelled");
  });
  EXPECT_TRUE(results(costs("")).empty());
}

}  // namespace
}  // namespace finetuned::tests
