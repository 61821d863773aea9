#pragma once

#include <optional>

#include "billing/ledger.h"
#include "billing/verify.h"
#include "storage/inference_usage_store.h"
#include "tests/integration/gateway/running_gateway.h"
#include "tests/integration/gateway/scripted_worker.h"
#include "tests/integration/platform/eventually.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {

namespace json = base::json;
using inference::Begun;
using inference::ChoiceEnd;
using inference::Done;
using inference::Failure;
using inference::FinishReason;
using inference::TextPiece;
using postgres::Scope;
using postgres::Transaction;

inline const Failure kFull{429, "requests", "engine_overloaded", "The engine is full.", std::nullopt, 2500};

inline void answer(WorkerSide& side) {
  side.request();
  side.send(Begun{11});
  side.send(TextPiece{0, "Hel", {}, 2});
  side.send(TextPiece{0, "lo", {}, 1});
  side.send(ChoiceEnd{0, FinishReason::kStop, 1});
  side.send(Done{11, 4, "fp_0123456789abcdef"});
}
inline void refuse_as_full(WorkerSide& side) {
  side.request();
  side.send(kFull);
}
inline void die_at_once(WorkerSide& side) { side.request(); }
inline void die_in_the_middle(WorkerSide& side) {
  side.request();
  side.send(Begun{9});
  side.send(TextPiece{0, "a", {}, 3});
  side.send(TextPiece{0, "b", {}, 1});
}

/// A tenant with credit, whose chats scripted workers answer.
class GenerationTest : public GatewayTest {
 protected:
  void SetUp() override {
    redis::Client(redis_address()).command({"FLUSHALL"});
    give_credit(pool(), tenant_.project, kCredit);
  }

  static constexpr std::int64_t kCredit = 1'000'000'000;
  /// What the answers cost, once nothing is held any more.
  std::int64_t spent() {
    billing::Balance balance;
    EXPECT_TRUE(eventually([&] {
      balance = pool().transact(Scope::system(), [&](Transaction& tx) { return billing::Ledger(tx).balance(tenant_.project.id); });
      return balance.held.value == 0;
    }, 10)) << balance.held.value << " held";
    EXPECT_EQ(balance.available.value, balance.credited.value - balance.spent.value);
    const auto faults = pool().transact(Scope::system(), billing::verify_ledger).faults;
    EXPECT_TRUE(faults.empty()) << faults.front().detail;
    return balance.spent.value;
  }
  void price(const char* method, const char* nano_per_1k) {
    const Answer set = send_as(tenant_.admin_key, "POST", "/v1/organization/prices",
                               std::string(R"({"nano_per_1k":")") + nano_per_1k + R"(","method":")" + method + "\"}");
    EXPECT_EQ(set.status, 200) << set.body;
  }
  std::vector<std::string> transfers() {
    std::vector<std::string> kinds;
    const auto page = get("/v1/billing/transfers?limit=100").json();
    for (const auto& one : page.at("data").as_array()) kinds.push_back(text(one.at("kind")));
    return kinds;
  }

  std::string chat(const std::string& model, const std::string& more = "") const {
    return R"({"model":")" + model + R"(","messages":[{"role":"user","content":"hi"}])" + more + "}";
  }
  Answer ask(const std::string& more = "") { return send("POST", "/v1/chat/completions", chat(base_.name, more)); }

  Call streamed_chat() const {
    Call request;
    request.method = "POST";
    request.path = "/v1/chat/completions";
    request.key = tenant_.key;
    request.body = chat(base_.name, R"(,"stream":true)");
    return request;
  }
  /// A connection on which the answer to a streaming request is about to come.
  std::optional<Wire> streaming(std::uint16_t port, int expected = 200) {
    Wire wire(port);
    wire.send(to_bytes(streamed_chat()));
    const auto head = wire.read(true);
    EXPECT_TRUE(head && head->status == expected) << (head ? head->status : 0);
    return wire;
  }

  /// Of the tenant's project and the test's model.
  void limit(const std::string& limits) {
    const Answer changed = send_as(tenant_.admin_key, "POST", "/v1/organization/projects/" + tenant_.project.id +
                                                                  "/rate_limits/rl-" + base_.name, limits);
    EXPECT_EQ(changed.status, 200) << changed.body;
  }

  struct Usage {
    std::int64_t prompt, completion;
    bool whole;
    std::string model, key;
  };
  /// The rows of the tenant, once there are as many.
  std::vector<Usage> usage(std::size_t rows) {
    std::vector<Usage> all;
    EXPECT_TRUE(eventually([&] {
      all = pool().transact(Scope::project(tenant_.project.id), [&](Transaction& tx) {
        std::vector<Usage> read;
        const auto result = tx.execute("SELECT * FROM inference_usage ORDER BY seq");
        for (std::size_t i = 0; i < result.size(); ++i) {
          const auto row = result.row(i);
          read.push_back({row.integer("prompt_tokens"), row.integer("completion_tokens"), row.boolean("whole"), row.text("model"),
                          row.text("api_key_id")});
        }
        return read;
      });
      return all.size() == rows;
    }, 10)) << all.size() << " rows";
    return all;
  }

  storage::BaseModel base_ = make_base_model(pool());
};

}  // namespace finetuned::tests
