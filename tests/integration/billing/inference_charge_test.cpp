#include "billing/inference_charge.h"

#include <atomic>
#include <thread>

#include "base/errors.h"
#include "billing/quotas.h"
#include "storage/organization_store.h"
#include "storage/quota_store.h"
#include "storage/spend_store.h"
#include "tests/integration/billing/books_fixture.h"

namespace finetuned::tests {
namespace {

using billing::InferenceHold;
using billing::InferenceTerms;
using billing::InferenceTokens;
using std::chrono::seconds;
using testing::HasSubstr;

/// Answers at 1,000 nano-dollars a token, of a model with a context of 512.
class InferenceChargeTest : public BooksTest {
 protected:
  const std::string key_ = make_key(pool(), project);

  template <class Work>
  auto own(Work work) {
    return pool().transact(Scope::project(project.id), work);
  }
  InferenceTerms terms() {
    return own([&](Transaction& tx) { return *billing::inference_terms(tx, project.id, model.name); });
  }
  /// Requests have their project's id behind their name: a name is one's alone.
  std::optional<InferenceHold> hold(const std::string& request, const InferenceTokens& most, seconds longest = seconds(60)) {
    const auto at = terms();
    return own([&](Transaction& tx) { return billing::hold_inference(tx, project.id, request + project.id, at, most, longest); });
  }
  void settle(const std::string& request, const std::optional<InferenceHold>& held, const InferenceTokens& took, bool whole = true) {
    const auto at = terms();
    own([&](Transaction& tx) {
      billing::settle_inference(tx, at, held, storage::InferenceUsage{request + project.id, project.id, key_, model.name, took.input, took.output, whole});
    });
  }
  void give_up(const std::optional<InferenceHold>& held) {
    const auto at = terms();
    own([&](Transaction& tx) { billing::settle_inference(tx, at, held, std::nullopt); });
  }
  void price(const char* method, std::int64_t nano_per_1k) {
    system([&](Transaction& tx) {
      tx.execute("INSERT INTO price (organization_id, base_model, method, nano_per_1k) VALUES ($1, $2, $3, $4)",
                 {project.organization_id, model.name, method, nano_per_1k});
    });
  }
  std::size_t expire_all() {
    return system([](Transaction& tx) { return billing::expire_inference_holds(tx, 1'000); });
  }
  /// Its hold's time is over.
  void let_expire(const InferenceHold& held) {
    system([&](Transaction& tx) {
      tx.execute("UPDATE inference_hold SET expires_at = clock_timestamp() - interval '1 second' WHERE transfer_id = $1::uuid", {held.transfer_id});
    });
  }
  std::int64_t count(const std::string& what) {
    return system([&](Transaction& tx) {
      return tx.execute("SELECT count(*) AS n FROM " + what + " WHERE project_id = $1", {project.id}).row(0).integer("n");
    });
  }
  std::string refusal(const InferenceTokens& most) {
    try {
      hold(base::make_id("req"), most);
    } catch (const base::ApiError& error) {
      EXPECT_EQ(error.status, 429);
      return error.code + ": " + error.what();
    }
    return "held";
  }
  void expect_whole() {
    const auto verification = system(billing::verify_ledger);
    EXPECT_EQ(verification.faults.size(), 0u) << told(verification.faults);
  }
};

TEST_F(InferenceChargeTest, WhatWasUsedIsPostedAndTheRestReturned) {
  give_credit(pool(), project, 1'000'000);
  const auto held = hold("req-1", {300, 200});
  ASSERT_TRUE(held);
  EXPECT_EQ(held->amount.value, 500'000);
  EXPECT_EQ(balance().held.value, 500'000);
  expect_whole();
  settle("req-1", held, {11, 7});
  EXPECT_EQ(balance().held.value, 0);
  EXPECT_EQ(balance().spent.value, 18'000);
  EXPECT_EQ(balance().available.value, 982'000);
  EXPECT_EQ(count("inference_hold"), 0);
  settle("req-1", held, {11, 7});  // as after a commit of which nothing was heard
  EXPECT_EQ(balance().spent.value, 18'000);
  EXPECT_EQ(count("inference_usage"), 1);
  expect_whole();
}

TEST_F(InferenceChargeTest, NothingUsedIsVoided) {
  give_credit(pool(), project, 1'000'000);
  const auto held = hold("req-1", {300, 200});
  give_up(held);
  give_up(held);
  EXPECT_EQ(balance().held.value, 0);
  EXPECT_EQ(balance().available.value, 1'000'000);
  EXPECT_EQ(count("inference_usage"), 0);
  const auto again = hold("req-2", {300, 200});
  settle("req-2", again, {0, 0}, false);
  EXPECT_EQ(balance().available.value, 1'000'000);
  expect_whole();
}

TEST_F(InferenceChargeTest, EachPriceIsItsOwnAndRoundsToEven) {
  give_credit(pool(), project, 1'000'000);
  price("inference_input", 500);    // 0.5 nano-dollars a token
  price("inference_output", 1'500);
  const auto held = hold("req-1", {300, 200});
  EXPECT_EQ(held->amount.value, 150 + 300);
  settle("req-1", held, {5, 7});  // 2.5 and 10.5
  const auto row = system([&](Transaction& tx) {
    const auto rows = tx.execute("SELECT input_amount, output_amount FROM inference_usage WHERE project_id = $1", {project.id});
    return std::pair(rows.row(0).integer("input_amount"), rows.row(0).integer("output_amount"));
  });
  EXPECT_EQ(row, std::pair(std::int64_t{2}, std::int64_t{10}));
  EXPECT_EQ(balance().spent.value, 12);
  expect_whole();
}

TEST_F(InferenceChargeTest, APriceOfNothingMovesNothing) {
  price("inference_input", 0);
  price("inference_output", 0);
  EXPECT_TRUE(terms().free());
  const auto held = hold("req-1", {300, 200});
  EXPECT_FALSE(held);
  settle("req-1", held, {11, 7});
  EXPECT_EQ(count("transfer"), 0);
  EXPECT_EQ(count("inference_usage"), 1);
  expect_whole();
}

TEST_F(InferenceChargeTest, AChargeIsAtMostItsHold) {
  give_credit(pool(), project, 1'000'000);
  const auto held = hold("req-1", {10, 10});
  settle("req-1", held, {15, 15});
  EXPECT_EQ(balance().spent.value, 20'000);
  EXPECT_EQ(billing::cost_of_inference(terms(), {25, 1}, {20'000}).output.value, 0);
  const std::int64_t huge = std::int64_t{1} << 62;
  EXPECT_EQ(billing::cost_of_inference(terms(), {huge, huge}, {20'000}).input.value, 20'000);
  expect_whole();
}

TEST_F(InferenceChargeTest, WithoutCoverNothingIsWritten) {
  give_credit(pool(), project, 499'999);
  EXPECT_EQ(refusal({300, 200}),
            "insufficient_quota: This request may cost $0.0005 and the project has $0.000499999 available: $0.000000001 are missing."
            " Ask your administrator for credit, or ask for fewer tokens (max_tokens, n).");
  EXPECT_EQ(count("inference_hold") + count("transfer"), 1) << "its credit";
  EXPECT_EQ(refusal({300, 199}), "held");
}

TEST_F(InferenceChargeTest, TheMonthsLimitsCountAnswers) {
  give_credit(pool(), project, 1'000'000'000);
  const storage::Spender spender{project.organization_id, project.id};
  system([&](Transaction& tx) { storage::SpendStore(tx, spender).set_limit(1); });  // 10,000,000 nano-dollars
  const auto first = hold("req-1", {5'000, 4'000});
  EXPECT_THAT(refusal({1'000, 1}), HasSubstr("quota_exceeded: The spend limit (spend_limit) of the project is $0.01 a month, of which $0.009"
                                             " are spent or held; this request may cost $0.001001."));
  settle("req-1", first, {2'000, 1'000});
  EXPECT_EQ(refusal({7'000, 0}), "held");
  EXPECT_THAT(refusal({1, 0}), HasSubstr("quota_exceeded"));
  system([&](Transaction& tx) {
    storage::SpendStore(tx, spender).remove_limit();
    storage::Quotas quotas;
    quotas.tokens_per_month = 12'000;
    storage::QuotaStore(tx).put(project.id, quotas);
  });
  EXPECT_EQ(system([&](Transaction& tx) { return storage::QuotaStore(tx).used(project.id); }).tokens_per_month, 10'000);
  EXPECT_THAT(refusal({2'000, 1}), HasSubstr("quota tokens_per_month is 12000 tokens, of which 10000 are used; this needs 2001 more"));
  EXPECT_EQ(refusal({1'000, 1'000}), "held");
}

TEST_F(InferenceChargeTest, AnArchivedProjectIsToldSo) {
  EXPECT_FALSE(terms().archived);
  system([&](Transaction& tx) { storage::OrganizationStore(tx).archive_project(project.id); });
  EXPECT_TRUE(terms().archived);
  EXPECT_FALSE(own([&](Transaction& tx) { return billing::inference_terms(tx, project.id, "none"); }));
}

TEST_F(InferenceChargeTest, AForgottenHoldExpiresAndNoOther) {
  give_credit(pool(), project, 10'000'000);
  const auto forgotten = hold("req-1", {300, 200}), working = hold("req-2", {100, 100});
  EXPECT_EQ(expire_all(), 0u);
  let_expire(*forgotten);
  EXPECT_EQ(expire_all(), 1u);
  EXPECT_EQ(expire_all(), 0u);
  EXPECT_EQ(balance().held.value, 200'000);
  settle("req-2", working, {1, 1});
  EXPECT_EQ(balance().available.value, 9'998'000);
  expect_whole();
}

TEST_F(InferenceChargeTest, ExpiringIsBounded) {
  give_credit(pool(), project, 10'000'000);
  for (int i = 0; i < 5; ++i) let_expire(*hold(base::make_id("req"), {10, 10}));
  EXPECT_EQ(system([](Transaction& tx) { return billing::expire_inference_holds(tx, 2); }), 2u);
  EXPECT_EQ(count("inference_hold"), 3);
  EXPECT_EQ(expire_all(), 3u);
}

/// Its gateway had slept: the answer is given, its usage written, and its price waived.
TEST_F(InferenceChargeTest, AnAnswerThatEndsBehindItsHoldIsWrittenAndWaived) {
  give_credit(pool(), project, 10'000'000);
  const auto late = hold("req-1", {300, 200}), none = hold("req-2", {300, 200});
  let_expire(*late);
  let_expire(*none);
  EXPECT_EQ(expire_all(), 2u);
  settle("req-1", late, {30, 20});
  settle("req-1", late, {30, 20});
  give_up(none);
  EXPECT_EQ(balance().available.value, 10'000'000);
  EXPECT_EQ(system([&](Transaction& tx) {
    const auto rows = tx.execute("SELECT prompt_tokens, waived FROM inference_usage WHERE project_id = $1", {project.id});
    EXPECT_TRUE(rows.row(0).boolean("waived"));
    return rows.row(0).integer("prompt_tokens");
  }), 30);
  expect_whole();
}

/// It computed nothing that has a price: verify asks of each hold that expired whether its answer was waived.
TEST_F(InferenceChargeTest, AnAnswerOfNothingBehindItsHoldIsWaivedToo) {
  give_credit(pool(), project, 10'000'000);
  const auto late = hold("req-1", {300, 200});
  let_expire(*late);
  EXPECT_EQ(expire_all(), 1u);
  settle("req-1", late, {0, 0});
  EXPECT_EQ(balance().available.value, 10'000'000);
  expect_whole();
}

/// The other order, and both at once: one of them ends the hold.
TEST_F(InferenceChargeTest, WhoIsFirstEndsTheHold) {
  give_credit(pool(), project, 1'000'000'000);
  const auto settled = hold("req-1", {300, 200});
  settle("req-1", settled, {30, 20});
  EXPECT_EQ(expire_all(), 0u);
  EXPECT_EQ(balance().spent.value, 50'000);
  std::vector<std::pair<std::string, InferenceHold>> holds;
  for (int i = 0; i < 20; ++i) {
    const std::string id = base::make_id("req");
    holds.emplace_back(id, *hold(id, {300, 200}));
    let_expire(holds.back().second);
  }
  std::atomic<std::size_t> expired{0};
  {
    const auto own_pool = make_pool(1);
    std::jthread metering([&] {
      for (std::size_t round = 0; round < 20; ++round)
        expired += own_pool->transact(Scope::system(), [](Transaction& tx) { return billing::expire_inference_holds(tx, 1); });
    });
    for (const auto& [id, held] : holds) settle(id, held, {30, 20});
  }
  EXPECT_EQ(balance().held.value, 0);
  EXPECT_EQ(balance().spent.value, 50'000 + 50'000 * (20 - static_cast<std::int64_t>(expired.load())));
  EXPECT_EQ(count("inference_usage"), 21);
  expect_whole();
}

TEST_F(InferenceChargeTest, ClientsAtOnceNeverHoldMoreThanThereIs) {
  give_credit(pool(), project, 1'000'000);  // ten holds
  constexpr int kThreads = 4, kEach = 15;
  const auto at = terms();
  const auto many = make_pool(kThreads);
  std::atomic<int> held{0}, refused{0};
  {
    std::vector<std::jthread> clients;
    for (int t = 0; t < kThreads; ++t)
      clients.emplace_back([&] {
        for (int i = 0; i < kEach; ++i) {
          try {
            many->transact(Scope::project(project.id), [&](Transaction& tx) {
              return billing::hold_inference(tx, project.id, base::make_id("req"), at, {50, 50}, seconds(60));
            });
            ++held;
          } catch (const base::ApiError&) {
            ++refused;
          }
        }
      });
  }
  EXPECT_EQ(held, 10);
  EXPECT_EQ(refused, kThreads * kEach - 10);
  EXPECT_EQ(balance().available.value, 0);
  expect_whole();
}

}  // namespace
}  // namespace finetuned::tests
