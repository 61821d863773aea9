#include "storage/postgres/grants.h"

#include "storage/postgres/migrator.h"

namespace finetuned::postgres {

namespace {

constexpr std::int64_t kGrantLock = 0x6772616e74;  // "grant": two at once would update the same rows of the catalogue

constexpr char kStanding[] = R"(
  SELECT rolsuper OR rolbypassrls AS above, pg_has_role(oid, current_user, 'MEMBER') AS owner
    FROM pg_roles WHERE rolname = $1)";

/// One statement a table. A table with a trigger of refuse_change() is append only; the migrator's is read.
constexpr char kStatements[] = R"(
  SELECT format('REVOKE ALL ON %1$s FROM %2$I; GRANT %3$s ON %1$s TO %2$I', t.oid::regclass, $1::text,
    CASE WHEN t.relname = 'schema_migration' THEN 'SELECT'
         WHEN t.relname = 'spend_alert_reached' THEN 'SELECT, INSERT'
         WHEN EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = t.oid AND g.tgfoid = 'refuse_change'::regproc) THEN 'SELECT, INSERT'
         WHEN t.relname IN ('organization', 'project', 'api_key', 'organization_user', 'project_user', 'service_account', 'file',
                            'job', 'job_event', 'job_checkpoint', 'job_result_file', 'fine_tuned_model', 'checkpoint_permission',
                            'account', 'audit_chain', 'upload', 'spend_alert', 'challenge', 'contribution',
                            'contribution_run', 'donated_worker', 'donated_stretch', 'donated_work',
                            'donated_evidence', 'donated_check') THEN 'SELECT, INSERT, UPDATE'
         ELSE 'SELECT, INSERT, UPDATE, DELETE' END) AS statement
    FROM pg_class t WHERE t.relkind = 'r' AND t.relnamespace = 'public'::regnamespace AND pg_get_userbyid(t.relowner) = current_user
   ORDER BY t.relname)";

void check_standing(Transaction& tx, const std::string& role) {
  const Result rows = tx.execute(kStanding, {role});
  if (rows.empty()) throw MigrationError("there is no database role '" + role + "' for database.url: CREATE ROLE ... LOGIN");
  if (rows.row(0).boolean("above"))
    throw MigrationError("the role '" + role + "' of database.url is a superuser or has BYPASSRLS, so nothing keeps projects" +
                         " apart: connect as another one");
  if (rows.row(0).boolean("owner"))
    throw MigrationError("the role '" + role + "' of database.url is a member of the one that owns the tables: REVOKE that," +
                         " or leave database.owner_url empty");
}

}  // namespace

std::string role_of(Pool& pool) {
  return pool.transact(Scope::system(), [](Transaction& tx) {
    return tx.execute("SELECT current_user::text AS role").row(0).text("role");
  });
}

void grant_to_application(Pool& owner, const std::string& role) {
  owner.transact(Scope::system(), [&](Transaction& tx) {
    tx.execute("SELECT pg_advisory_xact_lock($1)", {kGrantLock});
    check_standing(tx, role);
    const Result rows = tx.execute(kStatements, {role});
    for (std::size_t i = 0; i < rows.size(); ++i) tx.execute_script(rows.row(i).text("statement"));
  });
}

}  // namespace finetuned::postgres
