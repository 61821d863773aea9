#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "base/hex.h"
#include "billing/inference_entry.h"
#include "billing/ledger_entry.h"
#include "billing/ledger_head.h"
#include "billing/usage_entry.h"
#include "tests/integration/billing/books_fixture.h"

namespace finetuned::tests {
namespace {

namespace fs = std::filesystem;
using billing::KnownHeads;
using billing::LedgerHead;
using billing::LedgerVerification;
using testing::HasSubstr;

class ChainTest : public BooksTest {
 protected:
  ~ChainTest() override { fs::remove_all(directory_); }

  const fs::path directory_ = fs::temp_directory_path() / base::make_id("chain");
  const base::SigningKey key_ = base::SigningKey::load_or_create(directory_ / "signing.key");

  /// Credits, and a few jobs that succeeded or were cancelled; all of it sealed.
  /// The last one is free, one was broken off, and one has waited until its hold had expired.
  void make_answers() {
    const std::string key = make_key(pool(), project);
    const auto terms = pool().transact(Scope::project(project.id), [&](Transaction& tx) {
      return *billing::inference_terms(tx, project.id, model.name);
    });
    for (int i = 0; i < 4; ++i) {
      storage::InferenceUsage usage{base::make_id("req"), project.id, key, "ft:" + model.name, 10 + i, 20 * i, i != 1};
      pool().transact(Scope::project(project.id), [&](Transaction& tx) {
        const auto hold = billing::hold_inference(tx, project.id, usage.request_id, terms, {100, 100}, std::chrono::seconds(1));
        if (i == 2) tx.execute("DELETE FROM inference_hold WHERE project_id = $1", {project.id});
        if (i == 2) billing::Ledger(tx).expire(base::make_uuid(), hold->transfer_id, "late");
        billing::settle_inference(tx, terms, hold, usage);
      });
    }
    auto free = terms;
    free.input.nano_per_1k = free.output.nano_per_1k = 0;
    free.input.version = free.output.version = system([&](Transaction& tx) {
      return tx.execute("INSERT INTO price (base_model, method, nano_per_1k) VALUES ($1, 'inference_input', 0) RETURNING version", {model.name})
          .row(0).integer("version");
    });
    pool().transact(Scope::project(project.id), [&](Transaction& tx) {
      billing::settle_inference(tx, free, std::nullopt, storage::InferenceUsage{base::make_id("req"), project.id, key, model.name, 3, 4, true});
    });
  }

  void make_books(int credits, int jobs) {
    give_credit(pool(), project, 1'000'000'000);
    system([&](Transaction& tx) {
      billing::Ledger ledger(tx);
      for (int i = 0; i < credits; ++i)
        ledger.credit(base::make_uuid(), project.id, {1 + i}, "credit " + std::to_string(i));
    });
    for (int i = 0; i < jobs; ++i) {
      const auto job = create();
      const auto lease = claim(job);
      checkpoint(lease, {100, 300, 600});
      if (i % 2 == 0) {
        succeed(lease, {100, 300, 600, 1200});
      } else {
        system([&](Transaction& tx) {
          storage::JobStore(tx).request_cancel(job.id);
          EXPECT_TRUE(storage::JobLeases(tx).finish_cancelled(lease));
          billing::settle_job(tx, job.id);
        });
      }
    }
    seal_all();
  }

  LedgerVerification verify(std::vector<LedgerHead> heads = {}) {
    return billing::verify_books(pool(), {.from_files = std::move(heads), .public_keys = {key_.public_key()}});
  }
  /// What is found after an alteration as superuser, past triggers and foreign keys, which is then undone.
  template <class Alter>
  std::string after(const Alter& alter, const std::vector<LedgerHead>& outside = {}) {
    struct Undo {};
    LedgerVerification found;
    try {
      make_superuser_pool()->transact(Scope::system(), [&](Transaction& tx) {
        tx.execute("SET LOCAL session_replication_role = replica");
        alter(tx);
        auto heads = billing::read_heads(tx);
        heads.insert(heads.end(), outside.begin(), outside.end());
        found = billing::verify_ledger(tx);
        billing::verify_chains(tx, {}, heads, found);
        throw Undo();
      });
    } catch (const Undo&) {
    }
    return told(found.faults);
  }
  std::vector<LedgerHead> keep_heads(bool daily = false) {
    return system([&](Transaction& tx) { return billing::keep_heads(tx, key_, daily); });
  }
};

TEST_F(ChainTest, WhatIsSealedIsTheDocumentedBytes) {
  make_books(3, 2);
  make_answers();
  seal_all();
  const auto verification = verify();
  EXPECT_EQ(verification.faults.size(), 0u) << told(verification.faults);
  EXPECT_EQ(verification.sealed, verification.transfers + verification.usages);
  EXPECT_EQ(verification.unsealed, 0);
  const std::string select = std::string(
                                 "SELECT *, sha256(prev_hash || bytes) AS by_hand FROM (SELECT s.position, s.usage_seq AS sealed_usage,"
                                 " s.inference_seq AS sealed_inference, CASE WHEN s.transfer_id IS NOT NULL THEN"
                                 " ledger_entry(transfer, s.position) WHEN s.usage_seq IS NOT NULL THEN usage_entry(usage, s.position)"
                                 " ELSE inference_entry(inference_usage, s.position) END AS bytes, s.hash, s.prev_hash, ") +
                             billing::kTransferColumns + ", " + billing::kUsageColumns + ", " + billing::kInferenceColumns +
                             " FROM ledger_seal s LEFT JOIN transfer ON transfer.id = s.transfer_id"
                             " LEFT JOIN usage ON usage.seq = s.usage_seq"
                             " LEFT JOIN inference_usage ON inference_usage.seq = s.inference_seq) e ORDER BY position";
  system([&](Transaction& tx) {
    const auto rows = tx.execute(select);
    ASSERT_GT(rows.size(), 6u);
    std::string before = billing::kBeforeFirst;
    int usages = 0, answers = 0;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto row = rows.row(i);
      const std::int64_t position = row.integer("position");
      EXPECT_EQ(position, static_cast<std::int64_t>(i + 1));
      EXPECT_EQ(row.bytes("prev_hash"), before);
      std::string bytes, hash;
      const auto compute = [&](const auto& entry) {
        const auto array = entry.bytes();
        bytes.assign(array.data(), array.size());
        hash = entry.hash(before);
      };
      if (!row.is_null("sealed_inference")) {
        auto entry = billing::read_inference_entry(row);
        entry.position = position;
        compute(entry);
        ++answers;
      } else if (row.is_null("sealed_usage")) {
        compute(billing::LedgerEntry{.transfer = billing::read_transfer(row), .position = position});
      } else {
        auto entry = billing::read_usage_entry(row);
        entry.position = position;
        compute(entry);
        ++usages;
      }
      EXPECT_EQ(base::hex_encode(bytes), base::hex_encode(row.bytes("bytes")));
      EXPECT_EQ(row.bytes("hash"), hash);
      EXPECT_EQ(rows.row(i).bytes("hash"), rows.row(i).bytes("by_hand"));
      before = rows.row(i).bytes("hash");
    }
    EXPECT_GT(usages, 1);
    EXPECT_EQ(answers, 5);
  });
}

/// Each column of an answer's usage, and what its money is made of.
TEST_F(ChainTest, AlteredUsageOfAnAnswerIsNamed) {
  make_books(2, 1);
  make_answers();
  seal_all();
  EXPECT_EQ(told(verify().faults), "");
  const auto seq = system([](Transaction& tx) {
    return tx.execute("SELECT min(seq) AS seq FROM inference_usage WHERE whole AND output_amount > 0").row(0).integer("seq");
  });
  const std::string number = std::to_string(seq);
  for (const char* change :
       {"prompt_tokens = prompt_tokens + 1", "completion_tokens = completion_tokens - 1", "input_amount = input_amount + 1",
        "output_amount = 0", "input_price_version = output_price_version, output_price_version = input_price_version",
        "whole = false", "waived = true", "transfer_id = NULL", "request_id = request_id || 'x'", "project_id = project_id || 'x'",
        "api_key_id = api_key_id || 'x'", "model = model || 'x'", "base_model = NULL", "created_at = created_at + interval '1 microsecond'",
        "created_at = 'infinity'"}) {
    const std::string found = after([&](Transaction& tx) {
      tx.execute("ALTER TABLE inference_usage DROP CONSTRAINT inference_usage_paid");
      tx.execute(std::string("UPDATE inference_usage SET ") + change + " WHERE seq = $1", {seq});
    });
    EXPECT_THAT(found, HasSubstr("usage " + number + " of request ")) << change;
    EXPECT_THAT(found, HasSubstr("chain: USD_NANO position ")) << change;
  }
  EXPECT_THAT(after([&](Transaction& tx) { tx.execute("DELETE FROM inference_usage WHERE seq = " + number); }),
              testing::AllOf(HasSubstr("usage " + number + " of request (gone): it was sealed, and is gone"), HasSubstr("charged without usage")));
  EXPECT_THAT(after([&](Transaction& tx) { tx.execute("DELETE FROM ledger_seal WHERE inference_seq = " + number); }),
              HasSubstr("usage " + number + " of request "));
  // Books that were altered before they were sealed.
  const auto rules = [&](const std::string& change) {
    const std::string found = after([&](Transaction& tx) {
      tx.execute("ALTER TABLE inference_usage DROP CONSTRAINT inference_usage_paid");
      tx.execute(change);
    });
    std::string kept;
    std::istringstream lines(found);
    for (std::string line; std::getline(lines, line);)
      if (!line.starts_with("chain")) kept += line + "\n";
    return kept;
  };
  const std::string hold = "(SELECT transfer_id FROM inference_usage WHERE seq = " + number + ")";
  EXPECT_THAT(rules("UPDATE inference_usage SET prompt_tokens = prompt_tokens + 1 WHERE seq = " + number), HasSubstr("I5: usage " + number));
  EXPECT_THAT(rules("UPDATE inference_usage SET waived = true, input_amount = 0, output_amount = 0 WHERE seq = " + number),
              HasSubstr("I5: usage " + number));
  EXPECT_THAT(rules("UPDATE inference_usage SET transfer_id = NULL, input_amount = 0, output_amount = 0 WHERE seq = " + number),
              testing::AllOf(HasSubstr("nothing was held for it"), HasSubstr("charged without usage")));
  EXPECT_THAT(rules("DELETE FROM transfer WHERE pending_id = " + hold),
              testing::AllOf(HasSubstr("still open, and nothing will end it"), HasSubstr("and was charged 0")));
  EXPECT_THAT(rules("INSERT INTO inference_hold (transfer_id, project_id, request_id, most_tokens, expires_at) VALUES (" + hold +
                    ", 'p', 'r', 1, clock_timestamp())"),
              HasSubstr("resolved, and still waited for"));
  EXPECT_EQ(told(verify().faults), "") << "nothing stays altered";
}

/// Each column of a row of usage, as superuser, past triggers and checks; the sums that the other rules look at are left whole.
TEST_F(ChainTest, AlteredUsageIsNamed) {
  make_books(2, 3);
  const auto seq = system([](Transaction& tx) {
    return tx.execute("SELECT min(seq) AS seq FROM usage WHERE step_tokens IS NOT NULL").row(0).integer("seq");
  });
  const std::string name = "usage " + std::to_string(seq) + " of job ";
  for (const char* change :
       {"tokens_cum = tokens_cum + 1", "amount = amount + 1", "lease_epoch = lease_epoch + 1", "transfer_id = NULL",
        "steps = int8range(lower(steps), upper(steps) + 1)", "created_at = created_at + interval '1 microsecond'",
        "created_at = 'infinity'", "metric = metric || 'x'", "step_tokens = NULL", "step_tokens[1] = step_tokens[1] - 1",
        "step_tokens[1] = NULL", "project_id = project_id || 'x'", "job_id = job_id || 'x'", "steps = '[1,)'"}) {
    const std::string told = after([&](Transaction& tx) {
      tx.execute("ALTER TABLE usage DROP CONSTRAINT usage_check, DROP CONSTRAINT usage_metric_check, DROP CONSTRAINT usage_steps_check,"
                 " DROP CONSTRAINT usage_step_billed_once");
      tx.execute(std::string("UPDATE usage SET ") + change + " WHERE seq = $1", {seq});
    });
    EXPECT_THAT(told, HasSubstr(name)) << change;
    EXPECT_THAT(told, HasSubstr("chain: USD_NANO position ")) << change;
  }
  const std::string number = std::to_string(seq);
  EXPECT_THAT(after([&](Transaction& tx) { tx.execute("DELETE FROM usage WHERE seq = " + number); }),
              HasSubstr("usage " + number + " of job (gone): it was sealed, and is gone"));
  EXPECT_THAT(after([&](Transaction& tx) { tx.execute("DELETE FROM ledger_seal WHERE usage_seq = " + number); }),
              HasSubstr(name));
  EXPECT_EQ(verify().faults.size(), 0u) << "nothing stays altered";
}

/// What ended before usage was sealed is sealed where the chain ends; what had been sealed stays good.
TEST_F(ChainTest, UsageOfAnEarlierVersionIsSealedBehindWhatWas) {
  make_books(2, 2);
  const std::string told = after([](Transaction& tx) {  // as migration 0014 left it: transfers alone
    tx.execute("DELETE FROM ledger_seal");
    tx.execute("INSERT INTO ledger_unsealed (transfer_id) SELECT id FROM transfer ORDER BY seq");
    EXPECT_GT(billing::seal_transfers(tx, 1'000), 0u);
    tx.execute("INSERT INTO ledger_unsealed (usage_seq) SELECT seq FROM usage ORDER BY seq");
    EXPECT_EQ(static_cast<std::int64_t>(billing::seal_transfers(tx, 1'000)),
              tx.execute("SELECT count(*) AS n FROM usage").row(0).integer("n"));
  });
  EXPECT_EQ(told, "");
}

TEST(LedgerEntry, IsTheTableOfItsHeader) {
  billing::LedgerEntry entry;
  entry.position = 3;
  entry.transfer.created_micros = -2;
  entry.transfer.id = "00112233-4455-6677-8899-aabbccddeeff";
  entry.transfer.seq = 258;
  entry.transfer.ledger = billing::LedgerName::kPointsMicro;
  entry.transfer.kind = billing::TransferKind::kCorrection;
  entry.transfer.corrects_id = "ffffffff-ffff-ffff-ffff-ffffffffffff";
  entry.transfer.debit_id = 1;
  entry.transfer.credit_id = 2;
  entry.transfer.amount = {0x0102030405060708};
  entry.transfer.project_id = "abc";
  entry.transfer.reason = "";
  const auto bytes = entry.bytes();
  const std::string zeros(64, '0');
  EXPECT_EQ(base::hex_encode({bytes.data(), bytes.size()}),
            "46544c31"
            "02"
            "06"
            "0000"
            "0000000000000003"
            "0000000000000102"
            "00112233445566778899aabbccddeeff"
            "00000000000000000000000000000000"
            "ffffffffffffffffffffffffffffffff"
            "0000000000000001"
            "0000000000000002"
            "0102030405060708"
            "fffffffffffffffe"
            "0000000000000000"
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" +
                zeros + "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST_F(ChainTest, TheUnsealedTailIsCountedAndNoFault) {
  make_books(5, 0);
  give_credit(pool(), project, 3);
  const auto verification = verify();
  EXPECT_EQ(verification.unsealed, 1);
  EXPECT_EQ(verification.sealed, verification.transfers - 1);
  EXPECT_EQ(verification.faults.size(), 0u) << told(verification.faults);
}

/// Transactions that end in another order than their numbers were given, and some that never commit.
TEST_F(ChainTest, PlacesHaveNoGapsAndResolutionsStandBehindTheirHolds) {
  constexpr int kThreads = 6, kEach = 40;
  give_credit(pool(), project, 1'000'000'000);
  std::vector<storage::Project> projects;
  std::vector<std::string> jobs;
  for (int i = 0; i < kThreads; ++i) {
    projects.push_back(make_project(pool()));
    give_credit(pool(), projects.back(), 1'000'000);
    const auto job = new_job(projects.back(), model, make_file(pool(), projects.back()));
    system([&](Transaction& tx) { storage::JobStore(tx).insert(job); });
    jobs.push_back(job.id);
  }
  const auto many = make_pool(kThreads + 2);
  std::atomic<bool> done{false};
  std::vector<std::jthread> sealers;
  for (int i = 0; i < 2; ++i)
    sealers.emplace_back([&] {
      while (!done)
        many->transact(Scope::system(), [](Transaction& tx) { return billing::seal_transfers(tx, 7); });
    });
  {
    std::vector<std::jthread> writers;
    for (int t = 0; t < kThreads; ++t)
      writers.emplace_back([&, t] {
        std::mt19937_64 random(static_cast<unsigned>(t) + 1);
        for (int i = 0; i < kEach; ++i) {
          struct Withdrawn {};
          const std::string hold = base::make_uuid();
          try {
            many->transact(Scope::system(), [&](Transaction& tx) {
              billing::Ledger(tx).hold(hold, projects[t].id, {10}, jobs[t], 1);
              std::this_thread::sleep_for(std::chrono::microseconds(random() % 3'000));  // others commit in between
              if (random() % 4 == 0) throw Withdrawn();
            });
            many->transact(Scope::system(),
                           [&](Transaction& tx) { billing::Ledger(tx).release(base::make_uuid(), hold, "test"); });
          } catch (const Withdrawn&) {
          }
        }
      });
  }
  done = true;
  sealers.clear();
  seal_all();
  LedgerVerification verification;
  system([&](Transaction& tx) { billing::verify_chains(tx, {}, {}, verification); });
  EXPECT_EQ(verification.faults.size(), 0u) << told(verification.faults);
  EXPECT_EQ(verification.unsealed, 0);
  system([&](Transaction& tx) {
    const auto seen =
        tx.execute("SELECT count(*) AS rows, max(position) AS last, (SELECT max(seq) FROM transfer) AS seq FROM ledger_seal");
    EXPECT_EQ(seen.row(0).integer("rows"), seen.row(0).integer("last"));
    EXPECT_GT(seen.row(0).integer("seq"), seen.row(0).integer("last")) << "some numbers were given to nobody";
    const auto before = tx.execute(
        "SELECT t.id FROM transfer t JOIN ledger_seal s ON s.transfer_id = t.id"
        " JOIN ledger_seal h ON h.transfer_id = t.pending_id WHERE h.position >= s.position");
    EXPECT_EQ(before.size(), 0u);
  });
}

/// As superuser, past triggers and foreign keys. Each statement gets the victim as $1 and another transfer as $2; the last of
/// each makes the books whole again.
struct Tampering {
  const char* what;
  std::vector<const char*> statements;
};

const Tampering kTamperings[] = {
    {"amount", {"UPDATE transfer SET amount = amount + 1 WHERE id = $1::uuid AND $2::text IS NOT NULL"}},
    {"a high bit of the amount",
     {"UPDATE transfer SET amount = amount | (1::bigint << 41) WHERE id = $1::uuid AND $2::text IS NOT NULL"}},
    {"debit account", {"UPDATE transfer SET debit_id = debit_id + 1000000 WHERE id = $1::uuid AND $2::text IS NOT NULL"}},
    {"credit account", {"UPDATE transfer SET credit_id = credit_id + 256 WHERE id = $1::uuid AND $2::text IS NOT NULL"}},
    {"time",
     {"UPDATE transfer SET created_at = created_at + interval '1 microsecond' WHERE id = $1::uuid AND $2::text IS NOT NULL"}},
    {"time without end", {"UPDATE transfer SET created_at = 'infinity' WHERE id = $1::uuid AND $2::text IS NOT NULL"}},
    {"reason",
     {"UPDATE transfer SET reason = overlay(reason PLACING 'x' FROM 1) WHERE id = $1::uuid AND $2::text IS NOT NULL"}},
    {"project", {"UPDATE transfer SET project_id = project_id || 'x' WHERE id = $1::uuid AND $2::text IS NOT NULL"}},
    {"job", {"UPDATE transfer SET job_id = coalesce(job_id, '') || 'x' WHERE id = $1::uuid AND $2::text IS NOT NULL"}},
    {"price version",
     {"UPDATE transfer SET price_version = coalesce(price_version, 0) + 1 WHERE id = $1::uuid AND $2::text IS NOT NULL"}},
    {"ledger", {"UPDATE transfer SET ledger = 'POINTS_MICRO' WHERE id = $1::uuid AND $2::text IS NOT NULL"}},
    {"number", {"UPDATE transfer SET seq = seq + 1000000 WHERE id = $1::uuid AND $2::text IS NOT NULL"}},
    {"order",
     {"UPDATE transfer SET seq = -seq WHERE id IN ($1::uuid, $2::uuid)",
      "UPDATE transfer t SET seq = -o.seq FROM transfer o WHERE (t.id, o.id) IN (($1::uuid, $2::uuid), ($2::uuid, $1::uuid))"}},
    {"place",
     {"UPDATE ledger_seal SET position = position + 1000000 WHERE transfer_id IN ($1::uuid, $2::uuid)",
      "UPDATE ledger_seal s SET position = o.position - 1000000 FROM ledger_seal o"
      " WHERE (s.transfer_id, o.transfer_id) IN (($1::uuid, $2::uuid), ($2::uuid, $1::uuid))"}},
    {"deleted", {"DELETE FROM transfer WHERE id = $1::uuid AND $2::text IS NOT NULL"}},
    {"seal deleted", {"DELETE FROM ledger_seal WHERE transfer_id = $1::uuid AND $2::text IS NOT NULL"}},
    {"a byte of the hash",
     {"UPDATE ledger_seal SET hash = set_byte(hash, 7, get_byte(hash, 7) # 1) WHERE transfer_id = $1::uuid AND $2::text IS NOT NULL"}},
    {"a byte of the hash before",
     {"UPDATE ledger_seal SET prev_hash = set_byte(prev_hash, 31, get_byte(prev_hash, 31) # 128) WHERE transfer_id = $1::uuid AND $2::text IS NOT NULL"}},
    {"deleted with its seal",
     {"DELETE FROM transfer WHERE id = $1::uuid AND $2::text IS NOT NULL",
      "DELETE FROM ledger_seal WHERE transfer_id = $1::uuid AND $2::text IS NOT NULL"}},
    {"cut off with all behind it",
     {"DELETE FROM transfer WHERE id IN (SELECT transfer_id FROM ledger_seal WHERE position >= (SELECT position FROM ledger_seal"
      " WHERE transfer_id = $1::uuid)) AND $2::text IS NOT NULL",
      "DELETE FROM ledger_seal WHERE position >= (SELECT position FROM ledger_seal WHERE transfer_id = $1::uuid) AND $2::text IS NOT NULL"}},
};

TEST_F(ChainTest, EveryAlterationAsSuperuserIsNamed) {
  const int rounds = times("FINETUNED_TEST_TAMPERINGS", 150);
  make_books(std::max(300, rounds), 6);
  keep_heads();
  const auto heads = system([](Transaction& tx) { return billing::read_heads(tx); });
  ASSERT_EQ(heads.size(), 1u);
  ASSERT_EQ(verify(heads).faults.size(), 0u);
  std::vector<std::string> ids;
  std::vector<std::int64_t> places;  // in the chain, where usage stands between them
  system([&](Transaction& tx) {
    const auto rows = tx.execute("SELECT transfer_id, position FROM ledger_seal WHERE transfer_id IS NOT NULL ORDER BY position");
    for (std::size_t i = 0; i < rows.size(); ++i)
      ids.push_back(rows.row(i).text("transfer_id")), places.push_back(rows.row(i).integer("position"));
  });
  const auto superuser = make_superuser_pool();
  superuser->transact(Scope::system(),
                      [](Transaction& tx) { tx.execute("ALTER TABLE transfer ALTER seq SET GENERATED BY DEFAULT"); });
  std::mt19937_64 random(20261126);
  struct Undo {};
  for (int round = 0; round < rounds; ++round) {
    const Tampering& tampering = kTamperings[static_cast<std::size_t>(round) % std::size(kTamperings)];
    const std::size_t place = random() % ids.size();
    const std::string victim = ids[place], other = ids[(place + 1 + random() % (ids.size() - 1)) % ids.size()];
    LedgerVerification found;
    try {
      superuser->transact(Scope::system(), [&](Transaction& tx) {
        tx.execute("SET LOCAL session_replication_role = replica");
        for (const char* statement : tampering.statements)
          EXPECT_GE(tx.execute(statement, {victim, other}).affected_rows(), 1u) << tampering.what;
        billing::verify_chains(tx, {}, heads, found);
        throw Undo();
      });
    } catch (const Undo&) {
    }
    // A row that is gone altogether is named by its place.
    const std::string position = "position " + std::to_string(places[place]) + ",",
                      gap = "positions " + std::to_string(places[place]) + " to";
    const std::string end = "the chain ends at position " + std::to_string(places[place] - 1);
    const std::string all = told(found.faults);
    EXPECT_TRUE(all.find(victim) != std::string::npos || all.find(position) != std::string::npos ||
                all.find(gap) != std::string::npos || all.find(end) != std::string::npos)
        << tampering.what << " of " << victim << " at " << places[place] << ":\n"
        << all;
  }
  EXPECT_EQ(verify(heads).faults.size(), 0u) << "nothing stays altered";
}

/// Who can write the database can also hash it again, all of it; but not sign it.
TEST_F(ChainTest, ARewrittenChainIsFoundByTheSignedHead) {
  make_books(20, 0);
  const std::int64_t end = keep_heads().at(0).position;
  const std::string found = after([&](Transaction& tx) {
    tx.execute("UPDATE transfer SET amount = amount + 5 WHERE id = (SELECT transfer_id FROM ledger_seal WHERE position = 4)");
    std::string before = billing::kBeforeFirst;
    for (std::int64_t position = 1; position <= end; ++position) {
      tx.execute("UPDATE ledger_seal s SET prev_hash = $2::bytea, hash = sha256($2::bytea || ledger_entry(t, s.position))"
                 " FROM transfer t WHERE t.id = s.transfer_id AND s.position = $1",
                 {position, postgres::Value::bytes(before)});
      before = tx.execute("SELECT hash FROM ledger_seal WHERE position = $1", {position}).row(0).bytes("hash");
    }
  });
  EXPECT_THAT(found, HasSubstr("chain: USD_NANO position " + std::to_string(end)));
  EXPECT_THAT(found, HasSubstr("is not the one that the head of"));
}

TEST_F(ChainTest, HeadsAreKeptOnceADayAndAForgedOneIsFound) {
  make_books(4, 0);
  EXPECT_EQ(keep_heads(true).size(), 1u);
  EXPECT_EQ(keep_heads(true).size(), 0u);
  give_credit(pool(), project, 3);
  seal_all();
  EXPECT_EQ(keep_heads(true).size(), 0u) << "today's is there";
  const auto next = keep_heads();
  ASSERT_EQ(next.size(), 1u);
  EXPECT_EQ(next[0].position, 6);
  EXPECT_TRUE(next[0].signed_by(key_.public_key()));
  EXPECT_EQ(system([](Transaction& tx) { return billing::read_heads(tx); })[1].message(), next[0].message());
  EXPECT_EQ(verify().faults.size(), 0u);
  LedgerHead forged = next[0];
  forged.made_at_micros += 1;
  EXPECT_THAT(told(verify({forged}).faults), HasSubstr("was not signed by the key"));
  EXPECT_THAT(told(billing::verify_books(pool(), {}).faults), HasSubstr("no key to check them by"));
}

TEST_F(ChainTest, HeadsOutsideOfTheDatabaseOutliveIt) {
  make_books(4, 0);
  const billing::HeadFiles files(directory_ / "ledger");
  EXPECT_TRUE(files.read().empty());
  files.append(keep_heads());
  give_credit(pool(), project, 3);
  seal_all();
  files.put_latest(system([&](Transaction& tx) { return billing::sign_ends(tx, key_); }));
  const auto heads = files.read();
  ASSERT_EQ(heads.size(), 2u);
  EXPECT_EQ(heads[1].position, heads[0].position + 1);
  EXPECT_EQ(to_line(heads[0]), to_line(billing::read_head_file(directory_ / "ledger" / "heads.jsonl")[0]));
  EXPECT_EQ(verify(heads).faults.size(), 0u);
  const auto cut = [&](Transaction& tx) {  // the tail, its seal and the table's heads, in every place
    const std::string last = std::to_string(heads[1].position);
    tx.execute("DELETE FROM transfer WHERE id = (SELECT transfer_id FROM ledger_seal WHERE position = " + last + ")");
    tx.execute("DELETE FROM ledger_seal WHERE position = " + last);
    tx.execute("DELETE FROM ledger_head");
    tx.execute("UPDATE account SET debits_posted = debits_posted - 3 WHERE kind = 'funding' AND project_id = $1", {project.id});
    tx.execute("UPDATE account SET credits_posted = credits_posted - 3 WHERE kind = 'prepaid' AND project_id = $1", {project.id});
  };
  EXPECT_EQ(after(cut), "") << "the database alone looks whole";
  EXPECT_THAT(after(cut, heads), HasSubstr("transfer (gone): the chain ends at position " + std::to_string(heads[0].position)));
  std::ofstream(directory_ / "ledger" / "heads.jsonl", std::ios::app) << "{}\n";
  EXPECT_THROW(files.read(), base::FormatError);
}

}  // namespace
}  // namespace finetuned::tests
