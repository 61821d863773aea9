#include <rapidcheck.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <span>
#include <thread>

#include "billing/credit_limits.h"
#include "billing/job_statement.h"
#include "tests/integration/billing/books_fixture.h"

/// Properties on the real PostgreSQL. RapidCheck reads RC_PARAMS: `max_success=10000` are 1,000,000 operations of the first one,
/// 40 where it says nothing.
namespace finetuned::tests {
namespace {

using billing::InsufficientFunds;
using billing::Ledger;
using billing::TransferConflict;
using postgres::Scope;
using postgres::Transaction;

[[maybe_unused]] const int bounded = ::setenv("RC_PARAMS", "max_success=40", 0);

constexpr int kClients = 4;
constexpr std::size_t kOperations = 100;  // of a case, after which its project's books must add up

enum class Act { kCredit, kHold, kPost, kPostAbove, kVoid, kExpire, kCorrect, kCorrectAbove, kRepeat, kOtherBody, kLimit };

struct Operation {
  Act act = Act::kCredit;
  std::int64_t amount = 1;
  std::size_t choice = 0;  ///< of what the client has to choose from
};

std::ostream& operator<<(std::ostream& out, const Operation& operation) {
  return out << "act " << static_cast<int>(operation.act) << " amount " << operation.amount << " choice " << operation.choice;
}

rc::Gen<Operation> any_operation() {
  const auto act = rc::gen::weightedElement<Act>({{3, Act::kCredit},
                                                  {6, Act::kHold},
                                                  {4, Act::kPost},
                                                  {1, Act::kPostAbove},
                                                  {2, Act::kVoid},
                                                  {1, Act::kExpire},
                                                  {2, Act::kCorrect},
                                                  {1, Act::kCorrectAbove},
                                                  {2, Act::kRepeat},
                                                  {1, Act::kOtherBody},
                                                  {2, Act::kLimit}});
  return rc::gen::build<Operation>(rc::gen::set(&Operation::act, act),
                                   rc::gen::set(&Operation::amount, rc::gen::inRange<std::int64_t>(1, 1'000'000)),
                                   rc::gen::set(&Operation::choice, rc::gen::inRange<std::size_t>(0, 1'000)));
}

/// What all clients moved, to hold against the balance.
struct Moved {
  std::atomic<std::int64_t> credited{0}, held{0}, spent{0};
};

/// One of those who share a project's account: knows its own transfers, and what each call must answer.
class Client {
 public:
  Client(postgres::Pool& database, storage::Project project, std::string job, Moved& moved)
      : pool_(database), whole_project_(std::move(project)), job_(std::move(job)), moved_(moved) {}

  void run(const std::vector<Operation>& operations) {
    for (const Operation& operation : operations) {
      try {
        apply(operation);
      } catch (const std::exception& error) {
        if (wrong_.empty()) wrong_ = error.what();
      }
      if (!wrong_.empty()) return;
    }
  }
  const std::string& wrong() const { return wrong_; }

 private:
  using Call = std::function<bool(Ledger&, std::int64_t added)>;  ///< `added` to the amount: another body

  bool in_ledger(const Call& call, std::int64_t added = 0) {
    return pool_.transact(Scope::project(project_), [&](Transaction& tx) {
      Ledger ledger(tx);
      return call(ledger, added);
    });
  }
  void expect(bool held, const std::string& what) {
    if (!held && wrong_.empty()) wrong_ = what;
  }
  bool refused(const Call& call, std::int64_t added = 0) {
    try {
      in_ledger(call, added);
      return false;
    } catch (const TransferConflict&) {
      return true;
    }
  }
  /// The first time moves, and is remembered to be sent again.
  void act(const Call& call) {
    expect(in_ledger(call), "a new transfer moved nothing");
    done_.push_back(call);
  }

  void apply(const Operation& operation);
  void hold(std::int64_t amount);
  void resolve(const Operation& operation);
  void correct(const Operation& operation);

  struct Hold {
    std::string id;
    std::int64_t amount;
  };
  struct Correctable {
    std::string id;
    std::int64_t left;
    bool charge;  ///< a post: its correction gives money
  };
  postgres::Pool& pool_;
  const storage::Project whole_project_;
  const std::string project_ = whole_project_.id, job_;
  Moved& moved_;
  std::vector<Hold> open_;
  std::vector<Correctable> correctable_;
  std::vector<Call> done_;
  std::string wrong_;
};

void Client::hold(std::int64_t amount) {
  const std::string id = base::make_uuid();
  const Call call = [=, this](Ledger& ledger, std::int64_t added) {
    const bool is_new = ledger.hold(id, project_, {amount + added}, job_, 1);
    // Under the account's lock: whatever the limit was lowered to, a new hold is within it.
    if (is_new && ledger.balance(project_).available.value < 0) throw std::logic_error("a hold went beyond the credit limit");
    return is_new;
  };
  try {
    act(call);
  } catch (const InsufficientFunds& error) {
    return expect(error.available.value < amount, "refused a hold that fits");
  }
  open_.push_back({id, amount});
  moved_.held += amount;
}

void Client::resolve(const Operation& operation) {
  const std::size_t at = operation.choice % open_.size();
  const Hold hold = open_[at];
  const std::string id = base::make_uuid();
  if (operation.act == Act::kPostAbove) {
    const Call above = [=](Ledger& ledger, std::int64_t) {
      return ledger.post(id, hold.id, {hold.amount + operation.amount}, "above");
    };
    return expect(refused(above), "a charge above its hold went through");
  }
  const std::int64_t charge = operation.act == Act::kPost ? 1 + operation.amount % hold.amount : 0;
  act([=](Ledger& ledger, std::int64_t added) {
    if (charge > 0) return ledger.post(id, hold.id, {charge + added}, "random");
    const std::string reason = "random" + (added > 0 ? std::to_string(added) : "");
    return operation.act == Act::kExpire ? ledger.expire(id, hold.id, reason) : ledger.release(id, hold.id, reason);
  });
  open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(at));
  moved_.held -= hold.amount;
  moved_.spent += charge;
  if (charge > 0) correctable_.push_back({id, charge, true});
  const Call again = [=](Ledger& ledger, std::int64_t) { return ledger.release(base::make_uuid(), hold.id, "again"); };
  expect(refused(again), "a hold was resolved twice");
}

void Client::correct(const Operation& operation) {
  Correctable& of = correctable_[operation.choice % correctable_.size()];
  const std::string id = base::make_uuid(), corrected = of.id;
  const bool above = operation.act == Act::kCorrectAbove || of.left == 0;
  const std::int64_t amount = above ? of.left + operation.amount : 1 + operation.amount % of.left;
  const Call call = [=](Ledger& ledger, std::int64_t added) {
    return ledger.correct(id, corrected, {amount + added}, "random");
  };
  if (above) return expect(refused(call), "a correction beyond what it corrects went through");
  try {
    act(call);
  } catch (const InsufficientFunds& error) {
    return expect(!of.charge && error.available.value < amount, "refused a correction that fits");
  }
  of.left -= amount;
  (of.charge ? moved_.credited : moved_.spent) += amount;
}

void Client::apply(const Operation& operation) {
  switch (operation.act) {
    case Act::kCredit: {
      const std::string id = base::make_uuid();
      const std::int64_t amount = operation.amount;
      act([=, this](Ledger& ledger, std::int64_t added) { return ledger.credit(id, project_, {amount + added}, "random"); });
      moved_.credited += amount;
      correctable_.push_back({id, amount, false});
      return;
    }
    case Act::kHold:
      return hold(operation.amount);
    case Act::kLimit: {  // of half a hold on average, and 0 in one of four
      const std::int64_t limit = operation.choice % 4 == 0 ? 0 : operation.amount;
      pool_.transact(Scope::system(), [&](Transaction& tx) {
        expect(billing::set_credit_limit(tx, whole_project_, {limit}, std::nullopt).credit_limit.value == limit, "another limit was set");
      });
      return;
    }
    case Act::kCorrect:
    case Act::kCorrectAbove:
      if (!correctable_.empty()) correct(operation);
      return;
    case Act::kRepeat:
      if (!done_.empty()) expect(!in_ledger(done_[operation.choice % done_.size()]), "the same transfer moved money twice");
      return;
    case Act::kOtherBody:
      if (!done_.empty())
        expect(refused(done_[operation.choice % done_.size()], operation.amount), "another body under an id went through");
      return;
    default:
      if (!open_.empty()) resolve(operation);
  }
}

/// The rules I1 to I3 on one project's accounts, as SQL of its own beside verify_ledger's. It reads no other project's rows, so a case
/// takes as long among a million transfers as among none.
std::string project_faults(const std::string& project) {
  return pool().transact(Scope::system(), [&](Transaction& tx) -> std::string {
    const auto sums = tx.execute(
        "SELECT sum(debits_posted) = sum(credits_posted) AND sum(debits_pending) = sum(credits_pending) AS equal,"
        " bool_and(NOT no_overdraft OR debits_posted + debits_pending <= credits_posted + greatest(credit_limit, owing_allowed)) AS covered"
        " FROM account WHERE project_id = $1",
        {project});
    if (!sums.row(0).boolean("equal")) return "I1";
    if (!sums.row(0).boolean("covered")) return "I2";
    const auto apart = tx.execute(
        "SELECT a.id FROM account a WHERE a.project_id = $1 AND (a.debits_posted, a.credits_posted, a.debits_pending, a.credits_pending)"
        " <> (SELECT coalesce(sum(amount) FILTER (WHERE debit_id = a.id AND kind IN ('single', 'post', 'correction')), 0)::bigint,"
        "  coalesce(sum(amount) FILTER (WHERE credit_id = a.id AND kind IN ('single', 'post', 'correction')), 0)::bigint,"
        "  coalesce(sum(amount) FILTER (WHERE debit_id = a.id AND open), 0)::bigint,"
        "  coalesce(sum(amount) FILTER (WHERE credit_id = a.id AND open), 0)::bigint FROM (SELECT t.*, kind = 'pending' AND NOT EXISTS"
        "   (SELECT FROM transfer r WHERE r.project_id = $1 AND r.pending_id = t.id) AS open FROM transfer t WHERE t.project_id = $1) m)",
        {project});
    return apart.empty() ? "" : "I3";
  });
}

/// One case: operations that the clients share out among each other, at once.
void share_an_account(postgres::Pool& many, const storage::BaseModel& model) {
  const auto operations =
      *rc::gen::resize(rc::kNominalSize, rc::gen::container<std::vector<Operation>>(kOperations, any_operation()));
  const auto project = make_project(pool());
  const auto job = new_job(project, model, make_file(pool(), project));
  pool().transact(Scope::system(), [&](Transaction& tx) { storage::JobStore(tx).insert(job); });
  Moved moved;
  std::vector<Client> clients;
  for (int i = 0; i < kClients; ++i)
    clients.emplace_back(many, project, job.id, moved);
  {
    std::vector<std::jthread> threads;
    const std::size_t share = operations.size() / kClients;
    for (std::size_t i = 0; i < kClients; ++i)
      threads.emplace_back([&, i] {
        const auto first = operations.begin() + static_cast<std::ptrdiff_t>(i * share);
        clients[i].run({first, i + 1 == kClients ? operations.end() : first + static_cast<std::ptrdiff_t>(share)});
      });
  }
  for (const Client& client : clients)
    RC_ASSERT(client.wrong() == "");
  const auto balance = pool().transact(Scope::system(), [&](Transaction& tx) { return Ledger(tx).balance(project.id); });
  RC_ASSERT(balance.credited.value == moved.credited.load());
  RC_ASSERT(balance.held.value == moved.held.load());
  RC_ASSERT(balance.spent.value == moved.spent.load());
  RC_ASSERT(project_faults(project.id) == "");
}

/// The rules of `finetuned ledger verify` on all that is there. The first property's holds have no jobs that name them.
void expect_whole_books() {
  while (pool().transact(Scope::system(), [](Transaction& tx) { return billing::seal_transfers(tx, 2'000); }) > 0)
    continue;
  auto verification = billing::verify_books(pool(), {});
  std::erase_if(verification.faults, [](const auto& fault) { return fault.detail.ends_with("the job does not name it"); });
  for (const auto& fault : verification.faults)
    ADD_FAILURE() << fault.rule << ": " << fault.detail;
  EXPECT_EQ(verification.sealed, verification.transfers + verification.usages);
  std::cout << verification.transfers << " transfers, all sealed\n";
}

TEST(LedgerProperty, ClientsWhoShareAnAccountKeepEveryRule) {
  const storage::BaseModel model = make_base_model(pool());
  const auto many = make_pool(kClients);
  EXPECT_TRUE(rc::check("clients who share an account keep every rule", [&] { share_an_account(*many, model); }));
  expect_whole_books();
}

/// A job at that price, running, with its tokens held.
storage::JobLease run_job(const storage::Project& project, std::int64_t nano_per_1k, std::int64_t tokens) {
  const auto model = make_base_model(pool());
  auto job = new_job(project, model, make_file(pool(), project));
  const std::int64_t held = base::price_of(tokens, nano_per_1k).value;
  return pool().transact(Scope::system(), [&](Transaction& tx) {
    const auto price =
        tx.execute("INSERT INTO price (base_model, method, nano_per_1k) VALUES ($1, 'supervised', $2) RETURNING version",
                   {model.name, nano_per_1k})
            .row(0)
            .integer("version");
    storage::JobStore jobs(tx);
    jobs.insert(job);
    storage::Admitted admitted{price, tokens, held, std::nullopt};
    if (held > 0) {
      admitted.hold_transfer_id = base::make_uuid();
      Ledger(tx).hold(*admitted.hold_transfer_id, project.id, {held}, job.id, price);
    }
    jobs.admit(job.id, admitted);
    tx.execute("UPDATE job SET queued_at = '2000-01-01' WHERE id = $1", {job.id});
    const auto claimed = storage::JobLeases(tx).claim("test", 60);
    RC_ASSERT(claimed && claimed->job.id == job.id);
    return claimed->lease;
  });
}

/// Commits a run's steps, checkpoint by checkpoint, and ends it: what the job was charged.
std::int64_t charge_of(const storage::JobLease& lease, const std::vector<std::int64_t>& tokens_after,
                       const std::vector<std::size_t>& cuts) {
  return pool().transact(Scope::system(), [&](Transaction& tx) {
    for (const std::size_t cut : cuts)
      billing::book_usage(tx, lease.job_id, lease.epoch, std::span(tokens_after).first(cut % tokens_after.size()));
    storage::JobLeases leases(tx);
    const auto steps = static_cast<std::int64_t>(tokens_after.size());
    leases.set_progress(lease, steps, steps, tokens_after.back(), std::nullopt);
    leases.succeed(lease, "ft:" + lease.job_id, {}, tokens_after.back());
    billing::book_usage(tx, lease.job_id, lease.epoch, tokens_after);
    const std::int64_t charged = billing::settle_job(tx, lease.job_id)->charged.value;
    const auto job = *storage::JobStore(tx).find(lease.job_id);
    std::int64_t rows = 0, tokens = 0, after = 0;
    const int page = 1 + static_cast<int>(tokens_after.size() / 3);
    for (auto part = billing::job_statement_rows(tx, job, after, page); !part.empty();
         part = billing::job_statement_rows(tx, job, after, page))
      for (const auto& row : part)
        rows += row.amount.value, tokens += row.tokens, after = row.step;
    RC_ASSERT(rows == charged);
    RC_ASSERT(tokens == *job.trained_tokens);
    RC_ASSERT(after == steps);
    return charged;
  });
}

/// A request, and what becomes of it.
struct Answered {
  std::int64_t most_input = 1, most_output = 1, input = 0, output = 0;
  int end = 0;  ///< 0, 1: settled; 2: twice; 3: never taken up; 4: expired; 5: expired, and settled behind that
};

std::ostream& operator<<(std::ostream& out, const Answered& one) {
  return out << one.most_input << "+" << one.most_output << " held, " << one.input << "+" << one.output << " used, end " << one.end;
}

rc::Gen<Answered> any_answer() {
  const auto tokens = [] { return rc::gen::inRange<std::int64_t>(0, 5'000); };
  return rc::gen::build<Answered>(rc::gen::set(&Answered::most_input, tokens()), rc::gen::set(&Answered::most_output, tokens()),
                                  rc::gen::set(&Answered::input, tokens()), rc::gen::set(&Answered::output, tokens()),
                                  rc::gen::set(&Answered::end, rc::gen::inRange(0, 6)));
}

/// Holds all of them, ends them in another order, and returns what they cost by the formula.
std::int64_t end_answers(const storage::Project& project, const billing::InferenceTerms& terms, const std::vector<Answered>& answers) {
  const std::string key = make_key(pool(), project);
  std::vector<std::pair<Answered, std::optional<billing::InferenceHold>>> open;
  std::int64_t due = 0;
  const auto in_project = [&](auto work) { return pool().transact(Scope::project(project.id), work); };
  for (const Answered& one : answers)
    open.emplace_back(one, in_project([&](Transaction& tx) {
      return billing::hold_inference(tx, project.id, base::make_id("req"), terms, {one.most_input, one.most_output}, std::chrono::seconds(60));
    }));
  while (!open.empty()) {
    const auto at = open.begin() + static_cast<std::ptrdiff_t>(*rc::gen::inRange<std::size_t>(0, open.size()));
    const auto [one, hold] = *at;
    open.erase(at);
    std::optional<storage::InferenceUsage> usage;
    if (one.end != 3) usage = storage::InferenceUsage{base::make_id("req"), project.id, key, "m", one.input, one.output, true};
    const auto settle = [&] { in_project([&](Transaction& tx) { billing::settle_inference(tx, terms, hold, usage); }); };
    if (one.end >= 4 && hold) {
      pool().transact(Scope::system(), [&](Transaction& tx) {
        tx.execute("UPDATE inference_hold SET expires_at = '2000-01-01' WHERE transfer_id = $1::uuid", {hold->transfer_id});
        RC_ASSERT(billing::expire_inference_holds(tx, 1'000) >= 1u);
      });
    }
    if (one.end != 4) settle();
    if (one.end == 2) settle();
    if (one.end > 2) continue;
    const std::int64_t held = hold ? hold->amount.value : 0;
    due += std::min(held, base::price_of(one.input, terms.input.nano_per_1k).value + base::price_of(one.output, terms.output.nano_per_1k).value);
  }
  return due;
}

TEST(LedgerProperty, AnswersCostTheirTokensHoweverTheyEnd) {
  EXPECT_TRUE(rc::check("answers cost f of their tokens at odd prices, at most what was held, once", [] {
    const auto project = make_project(pool());
    const auto model = make_base_model(pool());
    constexpr std::int64_t kCredit = std::int64_t{1} << 50;
    give_credit(pool(), project, kCredit);
    for (const char* method : {"inference_input", "inference_output"}) {
      const auto price = *rc::gen::inRange<std::int64_t>(0, 3'000);
      pool().transact(Scope::system(), [&](Transaction& tx) {
        tx.execute("INSERT INTO price (base_model, method, nano_per_1k) VALUES ($1, $2, $3)", {model.name, method, price});
      });
    }
    const auto terms = pool().transact(Scope::project(project.id), [&](Transaction& tx) {
      return *billing::inference_terms(tx, project.id, model.name);
    });
    const auto answers = *rc::gen::resize(20, rc::gen::container<std::vector<Answered>>(any_answer()));
    const std::int64_t due = end_answers(project, terms, answers);
    const auto balance = pool().transact(Scope::system(), [&](Transaction& tx) { return Ledger(tx).balance(project.id); });
    RC_ASSERT(balance.held.value == 0);
    RC_ASSERT(balance.spent.value == due);
    RC_ASSERT(balance.available.value == kCredit - due);
    RC_ASSERT(project_faults(project.id) == "");
  }));
  expect_whole_books();
}

TEST(LedgerProperty, WhereUsageIsCutDoesNotChangeTheBill) {
  const auto project = make_project(pool());
  give_credit(pool(), project, std::int64_t{1} << 60);
  EXPECT_TRUE(rc::check("where usage is cut does not change the bill, at odd prices", [&] {
    const auto price = *rc::gen::inRange<std::int64_t>(0, 3'000);
    const auto steps =
        *rc::gen::nonEmpty(rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(1, 5'000)));
    const auto cuts = *rc::gen::container<std::vector<std::size_t>>(rc::gen::inRange<std::size_t>(0, 1'000));
    std::vector<std::int64_t> tokens_after;
    std::int64_t tokens = 0;
    for (const std::int64_t step : steps)
      tokens_after.push_back(tokens += step);
    const auto whole = charge_of(run_job(project, price, tokens), tokens_after, {});
    RC_ASSERT(whole == base::price_of(tokens, price).value);
    RC_ASSERT(charge_of(run_job(project, price, tokens), tokens_after, cuts) == whole);
    const auto more_than_held = charge_of(run_job(project, price, tokens - tokens / 3), tokens_after, cuts);
    RC_ASSERT(more_than_held == base::price_of(tokens - tokens / 3, price).value);
  }));
  expect_whole_books();
}

}  // namespace
}  // namespace finetuned::tests
