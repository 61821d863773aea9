#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "base/files.h"
#include "base/ids.h"
#include "base/sealing.h"
#include "billing/ledger.h"
#include "storage/model_store.h"
#include "tests/integration/platform/tiny_model.h"
#include "tests/integration/supervisor/program.h"

namespace finetuned::tests {
namespace {

namespace fs = std::filesystem;
using postgres::Scope;
using postgres::Transaction;
using testing::AllOf;
using testing::ContainsRegex;
using testing::HasSubstr;

constexpr std::uint64_t kMostBytes = 1 << 20;

int lines_of(const std::string& text) { return static_cast<int>(std::count(text.begin(), text.end(), '\n')); }

TEST(Program, SaysWhatItIsAndWhatItCan) {
  EXPECT_EQ(run_program({"--version"}).status, 0);
  const Outcome help = run_program({"--help"});
  EXPECT_EQ(help.status, 0);
  for (const char* command :
       {"serve", "gateway", "intake", "scheduler", "worker", "metering", "webhooks", "migrate", "models", "admin",
        "ledger", "audit", "train", "generate", "tokenize", "files", "jobs", "balance"})
    EXPECT_THAT(help.out, HasSubstr(command));
}

TEST(Program, AnswersAWrongCommandLineWithOneLineAndStatus2) {
  for (const std::vector<std::string>& wrong :
       {std::vector<std::string>{}, {"fly"}, {"serve", "--fast"}, {"models"}, {"admin", "credit"}}) {
    const Outcome outcome = run_program(wrong);
    EXPECT_EQ(outcome.status, 2);
    EXPECT_EQ(lines_of(outcome.err), 1) << outcome.err;
    EXPECT_EQ(outcome.out, "");
  }
}

TEST(Program, ListsEveryFaultOfAConfiguration) {
  const Site site("[worker]\nlease_seconds = 0\nspeed = 11\n[scheduler]\nmax_attempts = 1000000\n");
  for (const char* role : {"serve", "worker", "migrate"}) {
    const Outcome outcome = site.run({role});
    EXPECT_EQ(outcome.status, 2);
    EXPECT_THAT(outcome.err, HasSubstr("lease_seconds"));
    EXPECT_THAT(outcome.err, HasSubstr("speed"));
    EXPECT_THAT(outcome.err, HasSubstr("max_attempts"));
  }
}

class OperatorTest : public testing::Test {
 protected:
  void SetUp() override {
    const Outcome migrated = site_.run({"migrate"});
    ASSERT_EQ(migrated.status, 0) << migrated.err;
    source_ = site_.data().path() / "source";
    write_tiny_model(source_);
  }

  std::vector<storage::BaseModel> models() {
    return site_.pool().transact(Scope::system(), [](Transaction& tx) { return storage::ModelStore(tx).list_base(); });
  }

  /// Folders under models/ beside those of registered models.
  int leftovers() {
    int count = 0;
    const fs::path root = site_.data().path() / "models";
    if (!fs::exists(root)) return 0;
    for (const auto& entry : fs::recursive_directory_iterator(root)) {
      bool registered = false;
      for (const auto& model : models()) registered |= entry.path().string().rfind(model.directory, 0) == 0;
      if (!registered && entry.path().filename() != ".incoming" && entry.path().filename() != ".lock") ++count;
    }
    return count;
  }

  void expect_refused(const std::string& about) {
    const Outcome outcome = site_.run({"models", "import", source_.string(), "--name", "broken"});
    EXPECT_EQ(outcome.status, 2) << outcome.err;
    EXPECT_EQ(lines_of(outcome.err), 1) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(about));
    EXPECT_TRUE(models().empty());
    EXPECT_EQ(leftovers(), 0);
  }

  Site site_;
  fs::path source_;
};

TEST_F(OperatorTest, MigratingAgainChangesNothing) {
  const Outcome again = site_.run({"migrate"});
  EXPECT_EQ(again.status, 0);
  EXPECT_THAT(again.out, HasSubstr("up to date"));
}

TEST_F(OperatorTest, ImportsAModelOnceHoweverOftenItIsAsked) {
  const Outcome first = site_.run({"models", "import", source_.string(), "--name", "tiny"});
  EXPECT_EQ(first.status, 0) << first.err;
  EXPECT_THAT(first.out, HasSubstr("imported tiny: llama"));
  const Outcome second = site_.run({"models", "import", source_.string(), "--name", "tiny"});
  EXPECT_EQ(second.status, 0) << second.err;
  EXPECT_THAT(second.out, HasSubstr("already imported"));
  ASSERT_EQ(models().size(), 1u);
  EXPECT_TRUE(fs::exists(fs::path(models()[0].directory) / "model.safetensors"));
  EXPECT_EQ(leftovers(), 0);
  EXPECT_THAT(site_.run({"models", "list"}).out, HasSubstr("tiny"));
}

TEST_F(OperatorTest, RefusesANameThatAnotherModelHas) {
  ASSERT_EQ(site_.run({"models", "import", source_.string(), "--name", "tiny"}).status, 0);
  const fs::path other = site_.data().path() / "other";
  write_tiny_model(other, 2);
  const Outcome outcome = site_.run({"models", "import", other.string(), "--name", "tiny"});
  EXPECT_EQ(outcome.status, 2);
  EXPECT_THAT(outcome.err, HasSubstr("another model is registered as 'tiny'"));
  EXPECT_EQ(models().size(), 1u);
  EXPECT_EQ(leftovers(), 0);
}

TEST_F(OperatorTest, RefusesATruncatedModel) {
  fs::resize_file(source_ / "model.safetensors", fs::file_size(source_ / "model.safetensors") - 100);
  expect_refused("model.safetensors");
}

TEST_F(OperatorTest, RefusesALyingHeader) {
  std::string bytes = base::read_file(source_ / "model.safetensors", kMostBytes);
  bytes.replace(bytes.find("[280,32]"), 8, "[280,33]");
  base::write_durably(source_ / "model.safetensors", bytes);
  expect_refused("model.safetensors");
}

TEST_F(OperatorTest, RefusesAConfigurationThatItsWeightsBelie) {
  std::string config = base::read_file(source_ / "config.json", kMostBytes);
  config.replace(config.find("\"num_hidden_layers\": 2"), 22, "\"num_hidden_layers\": 3");
  base::write_durably(source_ / "config.json", config);
  expect_refused("model.layers.2");
}

TEST_F(OperatorTest, RefusesAMissingTokenizerAndAWrongTemplate) {
  const std::string settings = base::read_file(source_ / "tokenizer_config.json", kMostBytes);
  base::write_durably(source_ / "chat_template.jinja", "{% for m in messages %}{{ m.content");
  expect_refused("chat_template");
  fs::remove(source_ / "chat_template.jinja");
  fs::remove(source_ / "tokenizer.json");
  expect_refused("tokenizer.json");
}

TEST_F(OperatorTest, RefusesWhatIsNoFolderAndNoName) {
  EXPECT_EQ(site_.run({"models", "import", "/nonexistent"}).status, 2);
  EXPECT_EQ(site_.run({"models", "import", source_.string(), "--name", "../up"}).status, 2);
  EXPECT_EQ(site_.run({"models", "import", source_.string(), "--name", "ft:mine"}).status, 2);
}

TEST_F(OperatorTest, BootstrapsOnceWithTheKeptKeys) {
  const std::string keys = site_.data().path() / "keys";
  const std::vector<std::string> command{"admin",    "bootstrap", "--organization", "local",       "--project",
                                         "default", "--credit",  "10.00",          "--keys-file", keys};
  const Outcome first = site_.run(command);
  ASSERT_EQ(first.status, 0) << first.err;
  EXPECT_THAT(first.out, HasSubstr("$10.00"));
  const std::string kept = base::read_file(keys, kMostBytes);
  EXPECT_THAT(kept, HasSubstr("FINETUNED_API_KEY=sk-ft-"));
  EXPECT_THAT(kept, HasSubstr("FINETUNED_ADMIN_KEY=sk-ftadmin-"));
  struct stat status {};
  ASSERT_EQ(::stat(keys.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  const Outcome second = site_.run(command);
  EXPECT_EQ(second.status, 0) << second.err;
  EXPECT_THAT(second.out, HasSubstr("$10.00"));  // credited once
  EXPECT_EQ(base::read_file(keys, kMostBytes), kept);
  EXPECT_EQ(lines_of(site_.run({"admin", "keys", "list"}).out), 3);  // a heading, two keys
}

TEST_F(OperatorTest, CorrectsPoints) {
  using billing::AccountKind;
  site_.run({"admin", "bootstrap", "--organization", "local", "--project", "default"});
  const std::string award = base::make_uuid(), waiting = base::make_uuid(), vested = base::make_uuid();
  const auto escrowed = [&](const std::string& project) {
    return site_.pool().transact(Scope::system(), [&](Transaction& tx) {
      return billing::Ledger(tx, billing::LedgerName::kPointsMicro).escrowed(project).value;
    });
  };
  const std::string project = site_.pool().transact(Scope::system(), [&](Transaction& tx) {
    const std::string id = tx.execute("SELECT id FROM project WHERE name = 'default'").row(0).text("id");
    billing::Ledger points(tx, billing::LedgerName::kPointsMicro);
    points.move_between(award, id, AccountKind::kFunding, AccountKind::kPrepaid, {2'500'000}, "award");
    points.move_between(waiting, id, AccountKind::kFunding, AccountKind::kEscrow, {1'250'000}, "award, to vest");
    points.move_between(vested, id, AccountKind::kEscrow, AccountKind::kPrepaid, {1'000'000}, "vested");
    return id;
  });
  const auto correct = [&](const std::string& transfer, const std::string& amount) {
    return site_.run({"admin", "correct", transfer, "--amount", amount, "--reason", "too much"});
  };
  const Outcome corrected = correct(award, "0.5");
  EXPECT_EQ(corrected.status, 0) << corrected.err;
  EXPECT_THAT(corrected.out, AllOf(HasSubstr("corrected " + award + " by 0.5 points"), HasSubstr("available 3 points")));
  EXPECT_THAT(correct(award, "2.000001").err, HasSubstr("more than what is left"));
  EXPECT_THAT(correct(waiting, "0.25").err, HasSubstr("not spendable"));
  EXPECT_THAT(correct(vested, "1").out, HasSubstr("available 2 points"));
  EXPECT_EQ(escrowed(project), 250'000) << "what waits is still there, and nothing else";
  EXPECT_THAT(correct(award, "2").out, HasSubstr("available 0 points"));
  EXPECT_EQ(correct(base::make_uuid(), "1").status, 2);
  const Outcome verified = site_.run({"ledger", "verify"});
  EXPECT_THAT(verified.out, HasSubstr(": 0 faults")) << verified.out << verified.err;
}

TEST_F(OperatorTest, CreditsMakesAndRevokes) {
  const std::vector<std::string> bootstrap{"admin", "bootstrap", "--organization", "local", "--project", "default"};
  EXPECT_THAT(site_.run(bootstrap).out, HasSubstr("sk-ft-"));
  const Outcome credited = site_.run({"admin", "credit", "--project", "default", "--amount", "5.25", "--reason", "gift"});
  EXPECT_EQ(credited.status, 0) << credited.err;
  EXPECT_THAT(credited.out, HasSubstr("available $5.25"));
  const std::string gift = credited.out.substr(credited.out.find("(transfer ") + 10, 36);
  const auto correct = [&](const std::string& transfer, const std::string& amount) {
    return site_.run({"admin", "correct", transfer, "--amount", amount, "--reason", "too much"});
  };
  const Outcome corrected = correct(gift, "1.25");
  EXPECT_EQ(corrected.status, 0) << corrected.err;
  EXPECT_THAT(corrected.out, HasSubstr("available $4.00"));
  EXPECT_THAT(correct(gift, "4.01").err, HasSubstr("more than what is left"));
  EXPECT_EQ(correct(gift, "4.01").status, 2);
  EXPECT_EQ(correct("gift", "1").status, 2);
  EXPECT_THAT(site_.run({"admin", "credit-limit", "--project", "default", "--amount", "20"}).out,
              HasSubstr("credit limit $20.00; available $24.00"));
  EXPECT_THAT(site_.run({"admin", "credit-limit", "--project", "default"}).out, HasSubstr("credit limit $20.00"));
  EXPECT_EQ(site_.run({"admin", "credit-limit", "--project", "default", "--amount", "1000000001"}).status, 2);
  const auto quotas = [&](std::vector<std::string> set) {
    set.insert(set.begin(), {"admin", "quotas", "--project", "default"});
    return site_.run(set);
  };
  EXPECT_THAT(quotas({"--queued-jobs", "7", "--upload-bytes-per-day", "1000", "--spend-limit", "12.50", "--share-weight", "3"}).out,
              AllOf(HasSubstr("$12.50"), ContainsRegex("queued_jobs +7 +0"), ContainsRegex("upload_bytes_per_day +1000 +0")));
  EXPECT_THAT(quotas({"--queued-jobs", "none"}).out,
              AllOf(ContainsRegex("queued_jobs +none"), ContainsRegex("upload_bytes_per_day +1000"), ContainsRegex("share_weight +3")));
  for (const std::vector<std::string>& bad : std::vector<std::vector<std::string>>{
           {"--queued-jobs", "-1"}, {"--share-weight", "0"}, {"--spend-limit", "0.001"}, {"--tokens-per-minute", "5"},
           {"--model", "nobody", "--tokens-per-minute", "5"}})
    EXPECT_EQ(quotas(bad).status, 2) << bad.back();
  EXPECT_THAT(site_.run({"admin", "prices", "set", "--per-1k", "0.0025"}).out, HasSubstr("$0.0025 for 1,000 tokens"));
  EXPECT_EQ(site_.run({"admin", "prices", "set", "--per-1k", "0.003", "--from", "2099-01-01", "--organization", "local"}).status, 0);
  EXPECT_THAT(site_.run({"admin", "prices", "set", "--per-1k", "1", "--organization", "local"}).err, HasSubstr("begins at 2099-01-01"));
  for (const char* from : {"2100-01-01", "2020-01-01", "tomorrow"})
    EXPECT_EQ(site_.run({"admin", "prices", "set", "--per-1k", "1", "--from", from}).status, 2) << from;
  EXPECT_EQ(site_.run({"admin", "prices", "set", "--per-1k", "1000001"}).status, 2);
  EXPECT_EQ(lines_of(site_.run({"admin", "prices", "list"}).out), 6);  // a heading, what the platform began with (3), these two
  EXPECT_EQ(site_.run({"admin", "credit", "--project", "nobody", "--amount", "5", "--reason", "gift"}).status, 2);
  EXPECT_EQ(site_.run({"admin", "credit", "--project", "default", "--amount", "-5", "--reason", "gift"}).status, 2);
  EXPECT_EQ(site_.run({"admin", "projects", "create", "--organization", "local", "--name", "second"}).status, 0);
  EXPECT_THAT(site_.run({"admin", "projects", "list"}).out, HasSubstr("second"));
  const Outcome key = site_.run({"admin", "keys", "create", "--project", "second"});
  EXPECT_EQ(key.status, 0) << key.err;
  const std::string id = key.out.substr(0, key.out.find(' '));
  EXPECT_EQ(site_.run({"admin", "keys", "revoke", id}).status, 0);
  EXPECT_EQ(site_.run({"admin", "keys", "revoke", id}).status, 2);
  EXPECT_EQ(site_.run({"ledger", "verify"}).status, 0);
  const Outcome whole = site_.run({"audit", "verify"});
  EXPECT_EQ(whole.status, 0) << whole.err;
  EXPECT_THAT(whole.out, HasSubstr("1 chains, 11 entries hashed again: 0 faults"));
}

TEST_F(OperatorTest, TheLedgerIsSignedVerifiedExportedAndStated) {
  site_.run({"admin", "bootstrap", "--organization", "local", "--project", "default", "--credit", "10"});
  std::string project, month;
  site_.pool().transact(Scope::system(), [&](Transaction& tx) {
    const auto rows = tx.execute("SELECT id, to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM') AS month FROM project");
    project = rows.row(0).text("id"), month = rows.row(0).text("month");
  });
  const Outcome unsealed = site_.run({"ledger", "verify"});
  EXPECT_EQ(unsealed.status, 0) << unsealed.err;
  EXPECT_THAT(unsealed.out, HasSubstr("1 transfers, 0 usages (0 sealed, 1 wait for their seal)"));
  const Outcome head = site_.run({"ledger", "head"});
  EXPECT_EQ(head.status, 0) << head.err;
  EXPECT_THAT(head.out, testing::StartsWith("{\"ledger\":\"USD_NANO\",\"position\":1,\"hash\":\""));
  const Outcome key = site_.run({"ledger", "head", "--public-key"});
  EXPECT_THAT(key.out, testing::StartsWith("-----BEGIN PUBLIC KEY-----\n"));
  const auto copy = site_.data().path() / "copy.jsonl", pem = site_.data().path() / "key.pem";
  base::write_durably(copy, head.out);
  base::write_durably(pem, key.out);
  const Outcome sealed = site_.run({"ledger", "verify", "--heads", copy.string(), "--public-key", pem.string()});
  EXPECT_EQ(sealed.status, 0) << sealed.err << sealed.out;
  EXPECT_THAT(sealed.out, HasSubstr("0 usages (1 sealed, 0 wait for their seal), 1 signed heads"));
  const Outcome csv = site_.run({"ledger", "export", "--format", "csv", "--project", project, "--from", "2020-01-01"});
  EXPECT_EQ(csv.status, 0) << csv.err;
  EXPECT_EQ(lines_of(csv.out), 2);
  EXPECT_THAT(csv.out, HasSubstr(",10000000000,"));
  EXPECT_THAT(site_.run({"ledger", "export", "--format", "json", "--to", "2020-01-01"}).out, "[\n]\n");
  EXPECT_EQ(site_.run({"ledger", "export", "--from", "yesterday"}).status, 2);
  EXPECT_EQ(site_.run({"ledger", "statement", "--project", "nobody", "--month", "2026-11"}).status, 2);
  const Outcome empty = site_.run({"ledger", "statement", "--project", project, "--month", "2199-01"});
  EXPECT_EQ(empty.status, 0) << empty.err;
  EXPECT_THAT(empty.out, HasSubstr("$10.00"));
  EXPECT_THAT(site_.run({"ledger", "statement", "--project", project, "--month", month}).out, HasSubstr("credit"));
  EXPECT_THAT(site_.run({"ledger", "statement", "--project", project, "--month", month, "--format", "json"}).out,
              HasSubstr("\"closing\":\"10000000000\""));
  // Who cuts the tail off needs more than the database.
  site_.pool().transact(Scope::system(), [](Transaction& tx) {
    tx.execute("GRANT DELETE ON transfer, ledger_seal, ledger_head TO CURRENT_USER");
    tx.execute("GRANT UPDATE ON usage TO CURRENT_USER");  // whose foreign key looks whether a deleted transfer is named
    for (const std::string table : {"transfer", "ledger_seal", "ledger_head"}) {
      tx.execute("ALTER TABLE " + table + " DISABLE TRIGGER USER");
      tx.execute("DELETE FROM " + table);
      tx.execute("ALTER TABLE " + table + " ENABLE TRIGGER USER");
    }
    tx.execute("UPDATE account SET credits_posted = 0, debits_posted = 0");
  });
  const Outcome cut = site_.run({"ledger", "verify"});
  EXPECT_EQ(cut.status, 1);
  EXPECT_THAT(cut.out, HasSubstr("chain: USD_NANO position 1, transfer (gone): the chain ends at position 0"));
}

TEST_F(OperatorTest, ResealingMovesTheSigningSecretsToANewKey) {
  EXPECT_EQ(site_.run({"admin", "bootstrap", "--organization", "local", "--project", "default"}).status, 0);
  const auto before = base::SealingKey::load_or_create(site_.data().path() / "before");
  const auto now = base::SealingKey::load_or_create(site_.data().path() / "webhooks.key");
  const auto add = [&](const std::string& id, const std::string& sealed) {
    site_.pool().transact(Scope::system(), [&](Transaction& tx) {
      tx.execute("INSERT INTO webhook_endpoint (id, project_id, url, events, sealed_secret)"
                 " SELECT $1, id, 'https://a.example', '{fine_tuning.job.failed}', $2::bytea FROM project LIMIT 1",
                 {id, postgres::Value::bytes(sealed)});
    });
  };
  const auto opened = [&](const std::string& id) {
    return site_.pool().transact(Scope::system(), [&](Transaction& tx) {
      return now.open(tx.execute("SELECT sealed_secret FROM webhook_endpoint WHERE id = $1", {id}).row(0).bytes("sealed_secret"), id);
    });
  };
  add("we-old", before.seal("old secret", "we-old"));
  add("we-new", now.seal("new secret", "we-new"));
  const std::vector<std::string> command{"admin", "reseal", "--previous-key", (site_.data().path() / "before").string()};
  const Outcome first = site_.run(command), again = site_.run(command);
  EXPECT_EQ(first.status, 0) << first.err;
  EXPECT_EQ(first.out, "1 signing secrets sealed anew, 1 had been already\n");
  EXPECT_EQ(again.out, "0 signing secrets sealed anew, 2 had been already\n");
  EXPECT_EQ(opened("we-old"), "old secret");
  EXPECT_EQ(opened("we-new"), "new secret");
  add("we-lost", before.seal("moved", "we-another"));
  const Outcome lost = site_.run(command);
  EXPECT_EQ(lost.status, 1);
  EXPECT_THAT(lost.out, HasSubstr("we-lost: neither key opens its secret"));
  EXPECT_EQ(site_.run({"admin", "reseal", "--previous-key", "/nonexistent"}).status == 0, false);
}

TEST_F(OperatorTest, AuditVerifyNamesTheAlteredEntry) {
  site_.run({"admin", "bootstrap", "--organization", "local", "--project", "default"});
  for (const char* name : {"a", "b", "c"})
    EXPECT_EQ(site_.run({"admin", "projects", "create", "--organization", "local", "--name", name}).status, 0);
  const std::string altered = site_.pool().transact(Scope::system(), [](Transaction& tx) {
    tx.execute("GRANT UPDATE ON audit_log TO CURRENT_USER");
    tx.execute("ALTER TABLE audit_log DISABLE TRIGGER USER");
    const auto changed = tx.execute("UPDATE audit_log SET payload = replace(payload::text, '\"b\"', '\"c\"')::jsonb"
                                    " WHERE position = 2 RETURNING id");
    tx.execute("ALTER TABLE audit_log ENABLE TRIGGER USER");
    return changed.row(0).text("id");
  });
  const Outcome outcome = site_.run({"audit", "verify"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.out, HasSubstr(altered));
  EXPECT_THAT(outcome.out, HasSubstr("3 entries hashed again: 1 faults"));
  EXPECT_THAT(outcome.err, HasSubstr("altered"));
}

}  // namespace
}  // namespace finetuned::tests
