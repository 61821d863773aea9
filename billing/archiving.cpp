#include "billing/archiving.h"

#include "billing/settlement.h"
#include "storage/job_store.h"

namespace finetuned::billing {

namespace {

// One that runs and was told is its worker's to end.
const std::string kUnfinished =
    "SELECT j.id FROM project p JOIN job j ON j.project_id = p.id WHERE p.archived_at IS NOT NULL AND j.finished_at IS NULL"
    " AND (j.state <> 'running' OR j.cancel_requested_at IS NULL)";

}  // namespace

std::size_t end_archived_jobs(postgres::Transaction& tx, const std::optional<std::string>& project_id, int most) {
  const auto rows = project_id ? tx.execute(kUnfinished + " AND p.id = $2 ORDER BY j.seq LIMIT $1 FOR UPDATE OF j", {most, *project_id})
                               : tx.execute(kUnfinished + " ORDER BY j.seq LIMIT $1 FOR UPDATE OF j SKIP LOCKED", {most});
  storage::JobStore jobs(tx);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::string id = rows.row(i).text("id");
    const auto after = jobs.request_cancel(id);
    if (after && storage::is_terminal(after->state)) settle_job(tx, id);
  }
  return rows.size();
}

}  // namespace finetuned::billing
