#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "storage/audit_store.h"
#include "tests/integration/support/services.h"
#include "tests/integration/support/tenants.h"

namespace finetuned::storage {
namespace {

using namespace tests;
using postgres::Scope;
using postgres::Transaction;

class AuditTest : public testing::Test {
 protected:
  void record(int entries, const Project& whose) {
    for (int i = 0; i < entries; ++i)
      pool().transact(Scope::system(), [&](Transaction& tx) {
        AuditStore(tx).record({whose.organization_id, whose.id, "quota.updated", std::nullopt,
                               {{"id", whose.id}, {"changes_requested", {{"running_jobs", i}}}}});
      });
  }

  /// The ids of the chain, first entry first.
  std::vector<std::string> chain() {
    const auto page = pool().transact(Scope::system(), [&](Transaction& tx) {
      return AuditStore(tx).list(project_.organization_id, {}, {.after = std::nullopt, .limit = 100, .ascending = true});
    });
    std::vector<std::string> ids;
    for (const AuditEntry& entry : page.data) ids.push_back(entry.id);
    return ids;
  }

  /// What verification says about this test's organization: the named entry, or "whole".
  std::string verdict(Transaction& tx) {
    const AuditVerification found = verify_audit_log(tx);
    for (const AuditFault& fault : found.faults)
      if (fault.organization_id == project_.organization_id) return fault.entry_id;
    return "whole";
  }
  std::string verdict() {
    return pool().transact(Scope::system(), [&](Transaction& tx) { return verdict(tx); });
  }

  /// The verdict after someone past every trigger (the table's owner may switch them off, as a superuser may) has run
  /// `sql` with $1 an entry's id; undone at the end.
  std::string verdict_after(const std::string& sql, const std::string& id) {
    struct Undo {};
    std::string found;
    try {
      make_owner_pool()->transact(Scope::system(), [&](Transaction& tx) {
        tx.execute("GRANT UPDATE, DELETE ON audit_log TO CURRENT_USER");
        tx.execute("ALTER TABLE audit_log DISABLE TRIGGER USER");
        EXPECT_EQ(tx.execute(sql, {id}).affected_rows(), 1u) << sql;
        found = verdict(tx);
        throw Undo();
      });
    } catch (const Undo&) {
    }
    return found;
  }

  Project project_ = make_project(pool());
};

TEST_F(AuditTest, AWholeLogIsFoundWhole) {
  record(5, project_);
  record(3, make_project(pool()));
  EXPECT_EQ(chain().size(), 5u);
  EXPECT_EQ(verdict(), "whole");
}

TEST_F(AuditTest, AByteFlippedInAnyColumnIsFoundAndItsRowNamed) {
  record(5, project_);
  const auto ids = chain();
  const std::string other = make_project(pool()).organization_id;
  for (const std::string& id : {ids.front(), ids[2], ids.back()})
    for (const std::string set :
         {"type = 'quota.updatee'", "payload = jsonb_set(payload, '{changes_requested,running_jobs}', '7')",
          "effective_at = effective_at + interval '1 microsecond'", "resource_id = resource_id || 'x'", "project_id = NULL",
          "previous_hash = translate(previous_hash, '0123456789', '1234567890') || '0'", "hash = reverse(hash)",
          "position = position + 100"})
      EXPECT_EQ(verdict_after("UPDATE audit_log SET " + set + " WHERE id = $1", id), id) << set;
  EXPECT_NE(verdict_after("UPDATE audit_log SET id = id || 'x' WHERE id = $1", ids[2]), "whole");
  EXPECT_NE(verdict_after("UPDATE audit_log SET organization_id = '" + other + "' WHERE id = $1", ids[2]), "whole");
  EXPECT_EQ(verdict(), "whole") << "each was undone";
}

TEST_F(AuditTest, AMissingRowIsFoundWhereverItStood) {
  record(4, project_);
  const auto ids = chain();
  EXPECT_EQ(verdict_after("DELETE FROM audit_log WHERE id = $1", ids[0]), ids[1]);
  EXPECT_EQ(verdict_after("DELETE FROM audit_log WHERE id = $1", ids[2]), ids[3]);
  EXPECT_EQ(verdict_after("DELETE FROM audit_log WHERE id = $1", ids[3]), ids[2]);
}

TEST_F(AuditTest, ARowThatIsHashedAnewStillBreaksTheChain) {
  record(4, project_);
  const auto ids = chain();
  EXPECT_EQ(verdict_after("WITH changed AS (SELECT a.seq, jsonb_populate_record(a, '{\"type\":\"forged\"}') AS row"
                          " FROM audit_log a WHERE id = $1)"
                          " UPDATE audit_log SET type = 'forged', hash = audit_log_hash(changed.row) FROM changed"
                          " WHERE audit_log.seq = changed.seq",
                          ids[1]),
            ids[2]);
}

TEST_F(AuditTest, RowsAreNeitherChangedNorTakenOut) {
  record(1, project_);
  for (const bool granted : {false, true})
    for (const char* sql : {"UPDATE audit_log SET type = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"}) {
      try {
        make_owner_pool()->transact(Scope::system(), [&](Transaction& tx) {
          if (granted) tx.execute("GRANT UPDATE, DELETE, TRUNCATE ON audit_log TO CURRENT_USER");
          tx.execute(sql);
        });
        ADD_FAILURE() << sql << " went through";
      } catch (const postgres::SqlError& error) {
        EXPECT_EQ(error.sqlstate, granted ? "23000" : "42501") << sql;
      }
    }
}

TEST_F(AuditTest, EntriesWrittenAtOnceMakeOneChain) {
  constexpr int kWriters = 6, kEach = 20;
  std::vector<std::thread> writers;
  for (int i = 0; i < kWriters; ++i) writers.emplace_back([&] { record(kEach, project_); });
  for (std::thread& writer : writers) writer.join();
  const auto last = pool().transact(Scope::system(), [&](Transaction& tx) {
    return tx.execute("SELECT count(*) AS entries, max(position) AS last FROM audit_log WHERE organization_id = $1",
                      {project_.organization_id});
  });
  EXPECT_EQ(last.row(0).integer("entries"), kWriters * kEach);
  EXPECT_EQ(last.row(0).integer("last"), kWriters * kEach);
  EXPECT_EQ(verdict(), "whole");
}

TEST_F(AuditTest, AProjectsScopeSeesNoEntries) {
  record(1, project_);
  const auto seen = pool().transact(Scope::project(project_.id), [](Transaction& tx) {
    return tx.execute("SELECT FROM audit_log").size() + tx.execute("SELECT FROM audit_chain").size();
  });
  EXPECT_EQ(seen, 0u);
}

}  // namespace
}  // namespace finetuned::storage
