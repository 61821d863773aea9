#include "storage/platform_figures.h"

namespace finetuned::storage {

namespace {

constexpr char kFigures[] =
    "SELECT count(*) FILTER (WHERE state = 'queued') AS queued, count(*) FILTER (WHERE state = 'running') AS running,"
    " coalesce(greatest(0, extract(epoch FROM clock_timestamp() - min(queued_at) FILTER (WHERE state = 'queued'))), 0)::bigint"
    "  AS oldest, count(*) FILTER (WHERE coalesce(hold_transfer_id, points_hold_id) IS NOT NULL AND settled_at IS NULL) AS holds,"
    " (SELECT coalesce(sum(tokens), 0) FROM (SELECT max(tokens_cum) AS tokens FROM usage GROUP BY job_id) AS jobs)::bigint"
    "  AS tokens, (SELECT count(*) FROM webhook_delivery WHERE state = 'pending') AS webhooks,"
    " (SELECT count(*) FROM donated_check WHERE state IN ('waiting', 'running', 'given_up')) AS checks,"
    " (SELECT count(*) FROM donated_check WHERE state = 'disagreed') AS disagreed FROM job";

}  // namespace

PlatformFigures read_platform_figures(postgres::Transaction& tx) {
  const auto rows = tx.execute(kFigures);
  const auto row = rows.row(0);
  return {row.integer("queued"), row.integer("oldest"), row.integer("running"),
          row.integer("holds"),  row.integer("tokens"), row.integer("webhooks"),
          row.integer("checks"), row.integer("disagreed")};
}

}  // namespace finetuned::storage
