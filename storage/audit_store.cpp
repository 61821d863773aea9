#include "storage/audit_store.h"

#include <boost/json/serialize.hpp>

#include "base/expects.h"
#include "base/ids.h"
#include "storage/cursor.h"
#include "storage/json_columns.h"

namespace finetuned::storage {

namespace {

constexpr char kColumns[] =
    "audit_log.id, audit_log.type, floor(extract(epoch FROM audit_log.effective_at))::bigint AS effective_at,"
    " audit_log.project_id, project.name AS project_name, audit_log.actor_key_id, audit_log.payload";
constexpr char kShown[] =
    "NOT $2 AND ($3::bigint IS NULL OR effective_at >= to_timestamp($3::bigint + 1))"
    " AND ($4::bigint IS NULL OR effective_at >= to_timestamp($4::bigint))"
    " AND ($5::bigint IS NULL OR effective_at < to_timestamp($5::bigint))"
    " AND ($6::bigint IS NULL OR effective_at < to_timestamp($6::bigint + 1))"
    " AND ($7::text[] = '{}' OR audit_log.project_id = ANY ($7::text[]))"
    " AND ($8::text[] = '{}' OR audit_log.type = ANY ($8::text[]))"
    " AND ($9::text[] = '{}' OR audit_log.actor_key_id = ANY ($9::text[]))"
    " AND ($10::text[] = '{}' OR audit_log.resource_id = ANY ($10::text[]))";

// An altered row counts before the gaps that it may have left: it is the one to be named.
constexpr char kVerify[] =
    "WITH chained AS (SELECT a.organization_id, a.position, a.id, a.hash, a.previous_hash,"
    "  audit_log_hash(a) AS expected, row_number() OVER chain AS place, lag(a.hash, 1, '') OVER chain AS before"
    "  FROM audit_log a WINDOW chain AS (PARTITION BY a.organization_id ORDER BY a.position, a.seq)),"
    " ends AS (SELECT DISTINCT ON (organization_id) organization_id, position, id, hash FROM chained"
    "  ORDER BY organization_id, position DESC),"
    " faults AS (SELECT organization_id, 1 AS rank, position, id, 'its contents are not the ones that were hashed' AS detail"
    "   FROM chained WHERE hash IS DISTINCT FROM expected"
    "  UNION ALL SELECT organization_id, 2, position, id, 'what stood before it is missing or was altered'"
    "   FROM chained WHERE position <> place OR previous_hash <> before"
    "  UNION ALL SELECT coalesce(e.organization_id, c.organization_id), 3, e.position, coalesce(e.id, '(none)'),"
    "   'the chain should end in entry ' || coalesce(c.entries, 0) || ', another than this'"
    "   FROM ends e FULL JOIN audit_chain c ON c.organization_id = e.organization_id"
    "   WHERE e.position IS DISTINCT FROM c.entries OR e.hash IS DISTINCT FROM c.hash)"
    " SELECT DISTINCT ON (organization_id) organization_id, id, detail FROM faults"
    " ORDER BY organization_id, rank, position LIMIT 100";

AuditEntry read_entry(const postgres::Row& row) {
  return {.id = row.text("id"),
          .type = row.text("type"),
          .effective_at = row.integer("effective_at"),
          .project_id = row.maybe_text("project_id"),
          .project_name = row.maybe_text("project_name"),
          .actor_key_id = row.maybe_text("actor_key_id"),
          .payload = json_column(row, "payload").as_object()};
}

}  // namespace

void AuditStore::record(const NewAuditEntry& entry) {
  const boost::json::value* resource = entry.payload.if_contains("id");
  base::expects(resource && resource->is_string(), "an audit entry names what was changed");
  const bool lent = !tx_.scope().is_system();
  if (lent) tx_.execute_later("SELECT set_config('finetuned.scope', 'system', true)");
  tx_.execute(
      "INSERT INTO audit_log (id, organization_id, project_id, type, actor_key_id, resource_id, payload)"
      " VALUES ($1, $2, $3, $4, $5, $6, $7::jsonb)",
      {base::make_id("auditlog"), entry.organization_id, entry.project_id, entry.type, entry.actor_key_id,
       std::string(resource->get_string()), boost::json::serialize(entry.payload)});
  if (lent) tx_.execute_later("SELECT set_config('finetuned.scope', 'project', true)");
}

Page<AuditEntry> AuditStore::list(const std::string& organization_id, const AuditFilter& filter,
                                  const PageRequest& request) {
  using postgres::Value;
  const Listing listing{.table = "audit_log",
                        .key = "id",
                        .columns = kColumns,
                        .from = "audit_log LEFT JOIN project ON project.id = audit_log.project_id",
                        .owner = "audit_log.organization_id = $1",
                        .shown = kShown,
                        .owner_values = {organization_id},
                        .shown_values = {filter.nothing, filter.after_second, filter.from_second, filter.before_second,
                                         filter.to_second, Value::texts(filter.project_ids), Value::texts(filter.types),
                                         Value::texts(filter.actor_ids), Value::texts(filter.resource_ids)}};
  return read_listing(tx_, request, listing, read_entry);
}

AuditVerification verify_audit_log(postgres::Transaction& tx) {
  AuditVerification verification;
  const auto counts = tx.execute(
      "SELECT (SELECT count(*) FROM audit_chain) AS chains, (SELECT count(*) FROM audit_log) AS entries");
  verification.chains = counts.row(0).integer("chains");
  verification.entries = counts.row(0).integer("entries");
  const auto faults = tx.execute(kVerify);
  for (std::size_t i = 0; i < faults.size(); ++i) {
    const auto row = faults.row(i);
    verification.faults.push_back({row.text("organization_id"), row.text("id"), row.text("detail")});
  }
  return verification;
}

}  // namespace finetuned::storage
