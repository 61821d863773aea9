#include "storage/donation_store.h"

#include "base/ids.h"

namespace finetuned::storage {

namespace {

#define WORKER_COLUMNS                                                                                              \
  "w.name, w.project_id, extract(epoch FROM w.donated_at)::bigint AS donated_at,"                                  \
  " extract(epoch FROM w.withdrawn_at)::bigint AS withdrawn_at, extract(epoch FROM w.stopped_at)::bigint AS stopped_at," \
  " w.stop_reason"

constexpr char kFind[] = "SELECT " WORKER_COLUMNS " FROM donated_worker w WHERE w.name = $1";
constexpr char kFindForClaim[] = "SELECT " WORKER_COLUMNS " FROM donated_worker w WHERE w.name = $1 FOR SHARE";
constexpr char kList[] =
    "SELECT " WORKER_COLUMNS ", coalesce(sum(s.tokens), 0)::bigint AS tokens, coalesce(sum(s.earned_micro), 0)::bigint AS earned,"
    " coalesce(sum(s.escrow_micro) FILTER (WHERE s.outcome IS NULL), 0)::bigint AS pending,"
    " coalesce(sum(s.escrow_micro) FILTER (WHERE s.outcome = 'forfeited'), 0)::bigint AS forfeited"
    " , count(*) FILTER (WHERE c.state = 'agreed') AS agreed, count(*) FILTER (WHERE c.state = 'disagreed') AS disagreed,"
    " count(*) FILTER (WHERE c.state = 'given_up') AS given_up, count(*) FILTER (WHERE c.state IN ('waiting', 'running')) AS waiting"
    " FROM donated_worker w LEFT JOIN donated_stretch s ON s.worker = w.name LEFT JOIN donated_check c ON c.stretch_id = s.id GROUP BY w.name ORDER BY w.name";
#undef WORKER_COLUMNS

constexpr char kDonate[] =
    "INSERT INTO donated_worker (name, project_id) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE"
    " SET project_id = excluded.project_id, donated_at = clock_timestamp(), withdrawn_at = NULL"
    " WHERE donated_worker.withdrawn_at IS NOT NULL OR donated_worker.project_id <> excluded.project_id";
constexpr char kEndLeases[] =
    "UPDATE job SET lease_until = clock_timestamp(), attempts = attempts - 1 WHERE state = 'running' AND id IN ("
    " SELECT j.id FROM job j WHERE j.state = 'running' AND (EXISTS (SELECT FROM donated_stretch s WHERE s.job_id = j.id"
    "   AND s.lease_epoch = j.lease_epoch AND s.worker = $1) OR j.worker IN (SELECT name FROM worker WHERE known_as = $1))"
    "  ORDER BY j.id FOR NO KEY UPDATE OF j) RETURNING id";
constexpr char kEndChecks[] =
    "UPDATE donated_check SET lease_until = clock_timestamp() WHERE state = 'running' AND checker IN (SELECT name FROM worker WHERE known_as = $1)";
constexpr char kEndExports[] =
    "UPDATE model_export SET lease_until = clock_timestamp(), attempts = attempts - 1 WHERE status = 'running'"
    " AND lease_until > clock_timestamp() AND worker IN (SELECT name FROM worker WHERE known_as = $1)";
constexpr char kIsOwn[] =
    "SELECT FROM own_worker o WHERE name = $1 AND NOT EXISTS (SELECT FROM donated_worker d WHERE d.name = o.name) FOR SHARE OF o";
constexpr char kOwnAllBut[] =
    "INSERT INTO own_worker (name) SELECT DISTINCT known_as FROM worker WHERE known_as IS NOT NULL AND known_as <> $1"
    " AND NOT EXISTS (SELECT FROM donated_worker) ON CONFLICT DO NOTHING RETURNING name";
constexpr char kOwn[] =
    "INSERT INTO own_worker (name) SELECT $1 WHERE NOT EXISTS (SELECT FROM donated_worker WHERE name = $1) ON CONFLICT DO NOTHING";
constexpr char kBeginStretch[] =
    "INSERT INTO donated_stretch (id, job_id, project_id, lease_epoch, worker, donor_id, engine, first_step, first_tokens, first_object)"
    " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";

DonatedWorker worker_of(const postgres::Row& row) {
  return {row.text("name"),
          row.text("project_id"),
          row.integer("donated_at"),
          row.maybe_integer("withdrawn_at"),
          row.maybe_integer("stopped_at"),
          row.maybe_text("stop_reason")};
}

std::vector<std::string> names_of(const postgres::Result& rows, const char* column) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < rows.size(); ++i) names.push_back(rows.row(i).text(column));
  return names;
}

std::optional<DonatedWorker> found(const postgres::Result& rows) {
  if (rows.empty()) return std::nullopt;
  return worker_of(rows.row(0));
}

}  // namespace

bool DonationStore::changed(std::string_view sql, const std::vector<postgres::Value>& values) {
  return tx_.execute(sql, values).affected_rows() == 1;
}

std::optional<DonatedWorker> DonationStore::find(const std::string& name) { return found(tx_.execute(kFind, {name})); }

std::optional<DonatedWorker> DonationStore::find_for_claim(const std::string& name) {
  return found(tx_.execute(kFindForClaim, {name}));
}

std::vector<DonatedTotals> DonationStore::list() {
  const auto rows = tx_.execute(kList);
  std::vector<DonatedTotals> all;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    all.push_back({worker_of(row), row.integer("tokens"), row.integer("earned"), row.integer("pending"), row.integer("forfeited"),
                   row.integer("agreed"), row.integer("disagreed"), row.integer("given_up"), row.integer("waiting")});
  }
  return all;
}

bool DonationStore::is_own(const std::string& name) { return !tx_.execute(kIsOwn, {name}).empty() || !any(); }

bool DonationStore::any() { return !tx_.execute("SELECT FROM donated_worker LIMIT 1").empty(); }

std::vector<std::string> DonationStore::own_all_but(const std::string& name) { return names_of(tx_.execute(kOwnAllBut, {name}), "name"); }

bool DonationStore::own(const std::string& name) { return changed(kOwn, {name}); }

bool DonationStore::disown(const std::string& name) { return changed("DELETE FROM own_worker WHERE name = $1", {name}); }

bool DonationStore::donate(const std::string& name, const std::string& project_id) {
  disown(name);
  if (!changed(kDonate, {name, project_id})) return false;
  end_own_acts(name);
  return true;
}

bool DonationStore::withdraw(const std::string& name) {
  return changed("UPDATE donated_worker SET withdrawn_at = clock_timestamp() WHERE name = $1 AND withdrawn_at IS NULL", {name});
}

bool DonationStore::stop(const std::string& name, const std::string& reason) {
  return changed("UPDATE donated_worker SET stopped_at = clock_timestamp(), stop_reason = $2 WHERE name = $1 AND stopped_at IS NULL",
                 {name, reason});
}

bool DonationStore::allow(const std::string& name) {
  return changed("UPDATE donated_worker SET stopped_at = NULL, stop_reason = NULL WHERE name = $1 AND stopped_at IS NOT NULL", {name});
}

std::vector<std::string> DonationStore::end_leases(const std::string& name) {
  const auto jobs = names_of(tx_.execute(kEndLeases, {name}), "id");
  end_own_acts(name);
  return jobs;
}

void DonationStore::end_own_acts(const std::string& name) {
  tx_.execute(kEndChecks, {name});
  tx_.execute(kEndExports, {name});
}

bool DonationStore::decides(const std::string& job_id) {
  return !tx_.execute("SELECT 1 FROM contribution_run WHERE measured_at IS NULL AND job_id = $1", {job_id}).empty();
}

std::string DonationStore::begin_stretch(const ClaimedJob& claimed, const DonatedWorker& worker, const std::string& engine) {
  const std::string id = base::make_id("stretch");
  const Job& job = claimed.job;
  const SavedState from = job.saved.value_or(SavedState{});
  std::optional<std::string> object;
  if (job.saved) object = from.object_id;
  tx_.execute(kBeginStretch, {id, job.id, job.project_id, claimed.lease.epoch, worker.name, worker.project_id, engine, from.step,
                              from.trained_tokens, object});
  return id;
}

}  // namespace finetuned::storage
