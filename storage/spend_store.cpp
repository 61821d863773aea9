#include "storage/spend_store.h"

#include <boost/json/serialize.hpp>
#include <boost/json/value_from.hpp>
#include <boost/json/value_to.hpp>

#include "base/ids.h"
#include "storage/cursor.h"
#include "storage/json_columns.h"

namespace finetuned::storage {

namespace {

constexpr char kColumns[] = "id, threshold_cents, recipients, subject_prefix";
constexpr char kOwner[] = "organization_id = $1 AND project_id IS NOT DISTINCT FROM $2::text";
const std::string kOwned = std::string(" WHERE ") + kOwner;

constexpr char kSpent[] =
    "WITH mine AS (SELECT id FROM project WHERE organization_id = $1 AND ($2::text IS NULL OR id = $2))"
    " SELECT (coalesce((SELECT sum(amount) FROM transfer WHERE project_id IN (SELECT id FROM mine) AND kind = 'post'"
    "   AND debit_id IN (SELECT id FROM account WHERE project_id IN (SELECT id FROM mine) AND kind = 'prepaid'"
    "    AND ledger = 'USD_NANO')"
    "   AND created_at >= date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'), 0)"
    "  - coalesce((SELECT sum(given_back_since(id, date_trunc('month', clock_timestamp() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC')) FROM mine), 0)"
    "  + coalesce((SELECT sum(debits_pending) FROM account WHERE project_id IN (SELECT id FROM mine) AND kind = 'prepaid'"
    "   AND ledger = 'USD_NANO'), 0))::bigint AS spent";

SpendAlert read_alert(const postgres::Row& row) {
  return {row.text("id"),
          {.threshold_cents = row.integer("threshold_cents"),
           .recipients = boost::json::value_to<std::vector<std::string>>(json_column(row, "recipients")),
           .subject_prefix = row.maybe_text("subject_prefix")}};
}

std::optional<SpendAlert> maybe_alert(const postgres::Result& rows) {
  if (rows.empty()) return std::nullopt;
  return read_alert(rows.row(0));
}

std::string recipients_of(const NewSpendAlert& alert) {
  return boost::json::serialize(boost::json::value_from(alert.recipients));
}

}  // namespace

std::optional<std::int64_t> SpendStore::limit() {
  const auto rows = tx_.execute("SELECT threshold_cents FROM spend_limit" + kOwned,
                                {spender_.organization_id, spender_.project_id});
  if (rows.empty()) return std::nullopt;
  return rows.row(0).integer("threshold_cents");
}

void SpendStore::set_limit(std::int64_t cents) {
  tx_.execute(
      "INSERT INTO spend_limit (organization_id, project_id, threshold_cents) VALUES ($1, $2, $3)"
      " ON CONFLICT (organization_id, project_id) DO UPDATE SET threshold_cents = excluded.threshold_cents,"
      " updated_at = clock_timestamp()",
      {spender_.organization_id, spender_.project_id, cents});
}

bool SpendStore::remove_limit() {
  return tx_.execute("DELETE FROM spend_limit" + kOwned, {spender_.organization_id, spender_.project_id})
             .affected_rows() == 1;
}

Spending SpendStore::spending() {
  Spending spending{limit(), 0};
  spending.spent_nano =
      tx_.execute(kSpent, {spender_.organization_id, spender_.project_id}).row(0).integer("spent");
  return spending;
}

Spending SpendStore::lock_spending() {
  static const std::string lock = "SELECT threshold_cents FROM spend_limit" + kOwned + " FOR NO KEY UPDATE";
  const std::vector<postgres::Value> owner{spender_.organization_id, spender_.project_id};
  if (tx_.remembers(lock, owner) && tx_.execute_once(lock, owner).empty()) return {};
  const bool narrow = !tx_.scope().is_system();
  if (narrow) tx_.execute_later("SELECT set_config('finetuned.scope', 'system', true)");
  Spending spending;
  if (!tx_.execute_once(lock, owner).empty()) spending = this->spending();  // without a limit there is nothing to add up
  if (narrow) tx_.execute_later("SELECT set_config('finetuned.scope', 'project', true)");
  return spending;
}

SpendAlert SpendStore::add_alert(const NewSpendAlert& alert) {
  return read_alert(tx_.execute(std::string("INSERT INTO spend_alert"
                                            " (id, organization_id, project_id, threshold_cents, recipients, subject_prefix)"
                                            " VALUES ($1, $2, $3, $4, $5::jsonb, $6) RETURNING ") + kColumns,
                                {base::make_id("alert"), spender_.organization_id, spender_.project_id,
                                 alert.threshold_cents, recipients_of(alert), alert.subject_prefix})
                        .row(0));
}

std::optional<SpendAlert> SpendStore::find_alert(const std::string& id) {
  return maybe_alert(tx_.execute(std::string("SELECT ") + kColumns + " FROM spend_alert" + kOwned +
                                     " AND id = $3 AND deleted_at IS NULL",
                                 {spender_.organization_id, spender_.project_id, id}));
}

Page<SpendAlert> SpendStore::list_alerts(const PageRequest& request) {
  return read_listing(tx_, request,
                      {.table = "spend_alert", .key = "id", .columns = kColumns, .from = "spend_alert", .owner = kOwner,
                       .shown = "deleted_at IS NULL", .owner_values = {spender_.organization_id, spender_.project_id}},
                      read_alert);
}

std::optional<SpendAlert> SpendStore::replace_alert(const std::string& id, const NewSpendAlert& alert) {
  return maybe_alert(tx_.execute(
      "UPDATE spend_alert SET threshold_cents = $4, recipients = $5::jsonb, subject_prefix = $6" + kOwned +
          " AND id = $3 AND deleted_at IS NULL RETURNING " + kColumns,
      {spender_.organization_id, spender_.project_id, id, alert.threshold_cents, recipients_of(alert),
       alert.subject_prefix}));
}

bool SpendStore::remove_alert(const std::string& id) {
  return tx_.execute("UPDATE spend_alert SET deleted_at = clock_timestamp()" + kOwned + " AND id = $3 AND deleted_at IS NULL",
                     {spender_.organization_id, spender_.project_id, id})
             .affected_rows() == 1;
}

}  // namespace finetuned::storage
