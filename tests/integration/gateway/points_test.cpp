#include <gmock/gmock.h>

#include "base/ids.h"
#include "billing/ledger.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {
namespace {

namespace json = base::json;
using postgres::Scope;
using postgres::Transaction;

/// A file of 20 rows with 10 tokens each: 200 tokens an epoch, 200 micro-points.
class PointsTest : public GatewayTest {
 protected:
  storage::BaseModel base_ = make_base_model(pool());
  storage::File file_ = make_counted_file(pool(), tenant_.project, base_, std::vector<std::uint32_t>(20, 10));

  void give_points(std::int64_t micro) {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      billing::Ledger(tx, billing::LedgerName::kPointsMicro).credit(base::make_uuid(), tenant_.project.id, {micro}, "an award");
    });
  }
  std::string job(const std::string& payment) {
    return R"({"model":")" + base_.name + R"(","training_file":")" + file_.id +
           R"(","hyperparameters":{"n_epochs":1},"payment":)" + payment + "}";
  }
  std::string challenge(const std::string& more) {
    return R"({"project_id":")" + tenant_.project.id + R"(","name":"better","model":")" + base_.name + R"(","training_file":")" +
           file_.id + R"(","validation_file":")" + file_.id + R"(","reward":"1000","target":1,)" + more + "}";
  }
  Answer admin(const std::string& path, const std::string& body) {
    return send_as(tenant_.admin_key, "POST", "/v1/organization/challenges" + path, body);
  }
};

TEST_F(PointsTest, AJobIsPaidAsItAsksAndSaysSo) {
  give_points(150);
  give_credit(pool(), tenant_.project, 50'000);
  const json::value quote = send("POST", "/v1/fine_tuning/jobs/quote", job("\"points_then_usd\"")).json();
  EXPECT_EQ(quote.at("amount"), "200000");
  EXPECT_EQ(quote.at("amount_in_points"), "150");
  EXPECT_EQ(quote.at("amount_in_dollars"), "50000");
  EXPECT_EQ(quote.at("allowed"), true);
  EXPECT_EQ(send("POST", "/v1/fine_tuning/jobs/quote", job("\"points\"")).json().at("allowed"), false);
  EXPECT_EQ(send("POST", "/v1/fine_tuning/jobs/quote", job("\"usd\"")).json().at("allowed"), false);
  EXPECT_EQ(send("POST", "/v1/fine_tuning/jobs", job("\"points\"")).status, 429);
  const Answer made = send("POST", "/v1/fine_tuning/jobs", job("\"points_then_usd\""));
  ASSERT_EQ(made.status, 200) << made.body;
  EXPECT_EQ(made.json().at("payment"), "points_then_usd");
  const json::value balances = get("/v1/billing/balances").json();
  EXPECT_EQ(balances.at("data").at(0).at("held"), "50000");
  EXPECT_EQ(balances.at("data").at(1).at("ledger"), "POINTS_MICRO");
  EXPECT_EQ(balances.at("data").at(1).at("held"), "150");
  EXPECT_EQ(balances.at("data").at(1).at("pending"), "0");
  const json::value statement =
      get("/v1/fine_tuning/jobs/" + std::string(made.json().at("id").as_string()) + "/statement").json();
  EXPECT_EQ(statement.at("held_points"), "150");
  EXPECT_EQ(statement.at("held_dollars"), "50000");
  EXPECT_TRUE(statement.at("charged_points").is_null());
  EXPECT_EQ(get("/v1/billing/transfers?ledger=POINTS_MICRO").json().at("data").as_array().size(), 2u);
  EXPECT_EQ(get("/v1/billing/transfers?ledger=EURO").status, 400);
}

TEST_F(PointsTest, AnotherPaymentIsRefused) {
  for (const char* wrong : {"\"euro\"", "1", "[]"}) {
    const Answer answer = send("POST", "/v1/fine_tuning/jobs", job(wrong));
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.json().at("error").at("param"), "payment");
  }
}

TEST_F(PointsTest, AChallengeIsRefusedWhereItCouldNotBeMeasured) {
  const std::pair<const char*, const char*> wrong[] = {
      {R"("token_budget":1000,"seeds":[1,2])", "seeds"},        {R"("token_budget":1000,"seeds":[1,2,2])", "seeds"},
      {R"("token_budget":1000,"margin":-1)", "margin"},         {R"("token_budget":0)", "token_budget"},
      {R"("token_budget":1000,"metric":"speed")", "metric"},    {R"("token_budget":100,"baseline":{"n_epochs":1})", "baseline"},
      {R"("token_budget":1000,"baseline":{"rank":1})", "baseline.rank"}};
  for (const auto& [more, param] : wrong) {
    const Answer answer = admin("", challenge(more));
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_EQ(answer.json().at("error").at("param"), param);
  }
  EXPECT_EQ(send("POST", "/v1/organization/challenges", challenge(R"("token_budget":1000)")).status, 403);
}

TEST_F(PointsTest, ARecipeIsResolvedAndKeptWithinTheBudgetAndAProjectHasThreeUnderWay) {
  const Answer made = admin("", challenge(R"("token_budget":400,"baseline":{"n_epochs":1})"));
  ASSERT_EQ(made.status, 200) << made.body;
  const std::string path = "/v1/challenges/" + std::string(made.json().at("id").as_string()) + "/contributions";
  const auto submit = [&](int rank, int epochs) {
    return send("POST", path, R"({"recipe":{"lora_rank":)" + std::to_string(rank) + R"(,"n_epochs":)" + std::to_string(epochs) +
                                  R"(,"checkpoint_steps":1}})");
  };
  const Answer beyond = submit(4, 3);
  EXPECT_EQ(beyond.status, 400);
  EXPECT_EQ(beyond.json().at("error").at("code"), "recipe_beyond_budget");
  const Answer first = submit(4, 2);
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(first.json().at("recipe").at("lora_alpha"), 8);
  EXPECT_TRUE(first.json().at("recipe").at("checkpoint_steps").is_null());
  EXPECT_EQ(submit(5, 2).status, 200);
  EXPECT_EQ(submit(6, 2).status, 200);
  EXPECT_EQ(submit(7, 2).json().at("error").at("code"), "too_many_contributions");
  EXPECT_TRUE(get("/v1/challenges/" + std::string(made.json().at("id").as_string()) + "/leaderboard").json().at("data").as_array().empty());
  EXPECT_EQ(admin("/" + std::string(made.json().at("id").as_string()) + "/close", "{}").json().at("status"), "closed");
  EXPECT_EQ(submit(8, 2).json().at("error").at("code"), "challenge_closed");
}

TEST_F(PointsTest, AChallengeShowsWhatIsLeftOfItsRewardAndTakesNothingWhereThatIsNothing) {
  const json::value made = admin("", challenge(R"("token_budget":400,"baseline":{"n_epochs":1})")).json();
  EXPECT_EQ(made.at("reward_left"), "1000");
  const std::string id(made.at("id").as_string()), path = "/v1/challenges/" + id;
  const auto earn = [&](const char* contribution, int award) {
    pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("INSERT INTO contribution (id, challenge_id, project_id, recipe, state, decided_at, award_micro, escrow_micro, vests_at)"
                 " VALUES ($1, $2, $3, '{}', 'won', clock_timestamp(), $4, $5, clock_timestamp() + interval '9 days')",
                 {id + contribution, id, make_project(pool()).id, award, award / 2});
    });
  };
  const auto submit = [&] { return send("POST", path + "/contributions", R"({"recipe":{"lora_rank":4,"n_epochs":2}})"); };
  earn("first", 400);
  EXPECT_EQ(get(path).json().at("reward_left"), "600") << "another project's award counts";
  EXPECT_EQ(submit().status, 200);
  earn("second", 600);
  EXPECT_EQ(get(path).json().at("reward_left"), "0");
  EXPECT_EQ(get(path + "/leaderboard").json().at("challenge").at("reward_left"), "0");
  const Answer refused = submit();
  EXPECT_EQ(refused.status, 409) << refused.body;
  EXPECT_EQ(refused.json().at("error").at("code"), "reward_used_up");
  pool().transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("UPDATE contribution SET forfeited_at = clock_timestamp() WHERE id = $1", {id + "second"});
  });
  EXPECT_EQ(get(path).json().at("reward_left"), "300");
  EXPECT_EQ(submit().status, 200) << "what was forfeited can be earned again";
  pool().transact(Scope::system(), [&](Transaction& tx) {  // their points are not there: nobody is to vest them
    tx.execute("UPDATE contribution SET state = 'lost', award_micro = 0, escrow_micro = 0 WHERE challenge_id = $1 AND state = 'won'", {id});
  });
}

/// By what the incumbent was measured at last: of the sponsor's own in the last comparison with it, of a winner in its own.
TEST_F(PointsTest, AChallengeWhoseIncumbentIsAtItsTargetTakesNothing) {
  const auto is_refused_at = [&](const char* metric, double own, double winner) {
    const json::value made = admin("", challenge(R"("token_budget":400,"baseline":{"n_epochs":1},"metric":")" + std::string(metric) + "\"")).json();
    const std::string id(made.at("id").as_string()), path = "/v1/challenges/" + id;
    pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("INSERT INTO contribution (id, challenge_id, project_id, recipe, state, decided_at, incumbent_mean, contribution_mean)"
                 " VALUES ($1, $2, $3, '{}', 'lost', clock_timestamp(), $4, $5)", {id + "first", id, make_project(pool()).id, own, winner});
      if (winner != 0) tx.execute("UPDATE challenge SET incumbent_id = $2 WHERE id = $1", {id, id + "first"});
    });
    const Answer answer = send("POST", path + "/contributions", R"({"recipe":{"lora_rank":4,"n_epochs":2}})");
    if (answer.status == 200) return false;
    EXPECT_EQ(answer.status, 409) << answer.body;
    EXPECT_EQ(answer.json().at("error").at("code"), "target_reached");
    return true;
  };
  EXPECT_FALSE(is_refused_at("valid_loss", 1.1, 0));
  EXPECT_TRUE(is_refused_at("valid_loss", 1, 0));
  EXPECT_TRUE(is_refused_at("valid_loss", 1.1, 0.9));
  EXPECT_FALSE(is_refused_at("valid_mean_token_accuracy", 0.9, 0.99));
  EXPECT_TRUE(is_refused_at("valid_mean_token_accuracy", 0.9, 1));
}

}  // namespace
}  // namespace finetuned::tests
