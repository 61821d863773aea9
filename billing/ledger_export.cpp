#include "billing/ledger_export.h"

#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <vector>

#include "billing/csv.h"

namespace finetuned::billing {

namespace {

constexpr std::chrono::minutes kLongest{30};  // a statement

constexpr char kOpen[] =
    "DECLARE exported NO SCROLL CURSOR FOR SELECT t.seq::text, t.id::text, t.ledger, s.position::text, t.project_id, t.kind,"
    " t.debit_id::text, d.kind AS debit_account, t.credit_id::text, c.kind AS credit_account, t.amount::text, t.pending_id::text,"
    " t.corrects_id::text, t.job_id, t.price_version::text, t.reason,"
    " to_char(t.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS created_at, encode(s.hash, 'hex') AS hash"
    " FROM transfer t JOIN account d ON d.id = t.debit_id JOIN account c ON c.id = t.credit_id"
    " LEFT JOIN ledger_seal s ON s.transfer_id = t.id"
    " WHERE ($1::text IS NULL OR t.ledger = $1) AND ($2::text IS NULL OR t.project_id = $2)"
    " AND ($3::bigint IS NULL OR t.created_at >= to_timestamp($3::bigint))"
    " AND ($4::bigint IS NULL OR t.created_at < to_timestamp($4::bigint)) ORDER BY t.seq";

constexpr const char* kColumns[] = {"seq",    "id",         "ledger",        "position",  "project_id",
                                    "kind",   "debit_id",   "debit_account", "credit_id", "credit_account",
                                    "amount", "pending_id", "corrects_id",   "job_id",    "price_version",
                                    "reason", "created_at", "hash"};

/// Whole numbers that a JavaScript number holds; amounts are strings, like all that money is counted in.
bool is_number(std::string_view column) {
  return column == "seq" || column == "position" || column == "debit_id" || column == "credit_id" || column == "price_version";
}

std::string csv_of(const postgres::Row& row) {
  std::vector<std::string> fields;
  for (const char* column : kColumns)
    fields.push_back(row.maybe_text(column).value_or(""));
  return csv_row(fields);
}

std::string json_of(const postgres::Row& row) {
  boost::json::object object;
  for (const char* column : kColumns) {
    const auto text = row.maybe_text(column);
    if (!text)
      object[column] = nullptr;
    else if (is_number(column))
      object[column] = std::stoll(*text);
    else
      object[column] = *text;
  }
  return boost::json::serialize(object);
}

}  // namespace

std::int64_t export_transfers(postgres::Pool& pool, const ExportQuery& query,
                              const std::function<void(const std::string&)>& write) {
  const bool csv = query.format == ExportFormat::kCsv;
  return pool.snapshot(
      postgres::Scope::system(),
      [&](postgres::Transaction& tx) {
        std::optional<std::string> ledger;
        if (query.ledger) ledger = to_string(*query.ledger);
        tx.execute(kOpen, {ledger, query.project_id, query.from, query.to});
        write(csv ? csv_row({std::begin(kColumns), std::end(kColumns)}) : "[");
        std::int64_t written = 0;
        for (auto rows = tx.execute("FETCH 1000 FROM exported"); !rows.empty(); rows = tx.execute("FETCH 1000 FROM exported"))
          for (std::size_t i = 0; i < rows.size(); ++i, ++written)
            write(csv ? csv_of(rows.row(i)) : (written == 0 ? "\n" : ",\n") + json_of(rows.row(i)));
        if (!csv) write("\n]\n");
        return written;
      },
      kLongest);
}

}  // namespace finetuned::billing
