#include "storage/intake_store.h"

#include <bit>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <cstring>

#include "base/expects.h"
#include "storage/file_rows.h"

namespace finetuned::storage {

namespace {

static_assert(std::endian::native == std::endian::little, "row_tokens is stored as it lies in memory");

constexpr char kMissing[] =
    "SELECT DISTINCT tokenizer_fingerprint FROM base_model"
    " WHERE tokenizer_fingerprint NOT IN (SELECT tokenizer_fingerprint FROM file_tokens WHERE file_id = $1)"
    " ORDER BY 1";

/// `$1` file, `$2` epoch: the row while the lease holds.
constexpr char kFence[] = " id = $1 AND intake_epoch = $2 AND intake_until > clock_timestamp()";

}  // namespace

std::optional<IntakeClaim> IntakeStore::claim(const std::string& owner, std::int64_t lease_seconds) {
  const auto rows = tx_.execute(
      std::string("UPDATE file SET intake_owner = $1, intake_epoch = intake_epoch + 1,"
                  " intake_attempts = intake_attempts + 1,"
                  " intake_until = clock_timestamp() + make_interval(secs => $2::double precision)"
                  " WHERE id = (SELECT f.id FROM file f WHERE f.deleted_at IS NULL AND f.purpose = 'fine-tune'"
                  "  AND (f.intake_until IS NULL OR f.intake_until <= clock_timestamp())"
                  "  AND (f.status = 'uploaded' OR (f.status = 'processed' AND EXISTS ("
                  "   SELECT FROM base_model m WHERE NOT EXISTS (SELECT FROM file_tokens t"
                  "    WHERE t.file_id = f.id AND t.tokenizer_fingerprint = m.tokenizer_fingerprint))))"
                  "  ORDER BY f.seq LIMIT 1 FOR UPDATE SKIP LOCKED)"
                  " RETURNING intake_epoch, intake_attempts, ") +
          kFileColumns,
      {owner, lease_seconds});
  if (rows.empty()) return std::nullopt;
  const auto row = rows.row(0);
  IntakeClaim claim;
  claim.file = read_file_row(row);
  claim.lease = {claim.file.id, row.integer("intake_epoch")};
  claim.attempts = static_cast<int>(row.integer("intake_attempts"));
  const auto missing = tx_.execute(kMissing, {claim.file.id});
  for (std::size_t i = 0; i < missing.size(); ++i)
    claim.missing_fingerprints.push_back(missing.row(i).text("tokenizer_fingerprint"));
  return claim;
}

bool IntakeStore::extend(const IntakeLease& lease, std::int64_t lease_seconds) {
  return tx_.execute(std::string("UPDATE file SET intake_until = clock_timestamp() +"
                                 " make_interval(secs => $3::double precision) WHERE") +
                         kFence,
                     {lease.file_id, lease.epoch, lease_seconds})
             .affected_rows() == 1;
}

bool IntakeStore::put_counts(const IntakeLease& lease, const TokenCounts& counts) {
  base::expects(static_cast<std::int64_t>(counts.row_tokens.size()) == counts.rows, "one count a row");
  const std::string_view packed(reinterpret_cast<const char*>(counts.row_tokens.data()),
                                counts.row_tokens.size() * sizeof(std::uint32_t));
  return tx_.execute(std::string("INSERT INTO file_tokens (file_id, tokenizer_fingerprint, project_id, row_count,"
                                 " tokens, supervised_tokens, longest_tokens, longest_line, row_tokens, error_code,"
                                 " error_message)"
                                 " SELECT id, $3, project_id, $4, $5, $6, $7, $8, $9::bytea, $10, $11 FROM file WHERE") +
                         kFence +
                         " FOR UPDATE"
                         " ON CONFLICT (file_id, tokenizer_fingerprint) DO UPDATE SET row_count = excluded.row_count,"
                         " tokens = excluded.tokens, supervised_tokens = excluded.supervised_tokens,"
                         " longest_tokens = excluded.longest_tokens, longest_line = excluded.longest_line,"
                         " row_tokens = excluded.row_tokens, error_code = excluded.error_code,"
                         " error_message = excluded.error_message",
                     {lease.file_id, lease.epoch, counts.tokenizer_fingerprint, counts.rows, counts.tokens,
                      counts.supervised_tokens, counts.longest_tokens, counts.longest_line,
                      postgres::Value::bytes(packed), counts.error_code, counts.error_message})
             .affected_rows() == 1;
}

bool IntakeStore::finish(const IntakeLease& lease, FileStatus status, const std::optional<std::string>& details,
                         const boost::json::object& report) {
  base::expects(status != FileStatus::kUploaded, "intake ends with a verdict");
  const auto rows =
      tx_.execute(std::string("UPDATE file SET status = $3, status_details = $4, intake_until = NULL,"
                              " intake_owner = NULL, intake_attempts = 0 WHERE") +
                      kFence + " AND status = 'uploaded' RETURNING project_id",
                  {lease.file_id, lease.epoch, to_string(status), details});
  if (rows.empty()) return false;
  tx_.execute(
      "INSERT INTO file_report (file_id, project_id, report) VALUES ($1, $2, $3::jsonb)"
      " ON CONFLICT (file_id) DO UPDATE SET report = excluded.report",
      {lease.file_id, rows.row(0).text("project_id"), boost::json::serialize(report)});
  return true;
}

bool IntakeStore::release(const IntakeLease& lease) {
  return tx_.execute(std::string("UPDATE file SET intake_until = NULL, intake_owner = NULL, intake_attempts = 0"
                                 " WHERE") +
                         kFence,
                     {lease.file_id, lease.epoch})
             .affected_rows() == 1;
}

bool IntakeStore::postpone(const IntakeLease& lease, std::int64_t seconds) {
  return tx_.execute(std::string("UPDATE file SET intake_until = clock_timestamp() + make_interval(secs => $3::double precision),"
                                 " intake_attempts = greatest(0, intake_attempts - 1) WHERE") +
                         kFence,
                     {lease.file_id, lease.epoch, seconds})
             .affected_rows() == 1;
}

std::optional<boost::json::object> IntakeStore::report(const std::string& file_id) {
  const auto rows = tx_.execute("SELECT report FROM file_report WHERE file_id = $1", {file_id});
  if (rows.empty()) return std::nullopt;
  return boost::json::parse(rows.row(0).text("report")).as_object();
}

std::optional<TokenCounts> IntakeStore::counts(const std::string& file_id, const std::string& tokenizer_fingerprint,
                                               bool with_rows) {
  const auto rows = tx_.execute(
      std::string("SELECT row_count, tokens, supervised_tokens, longest_tokens, longest_line, error_code, error_message,") +
          (with_rows ? " row_tokens" : " ''::bytea AS row_tokens") +
          " FROM file_tokens WHERE file_id = $1 AND tokenizer_fingerprint = $2",
      {file_id, tokenizer_fingerprint});
  if (rows.empty()) return std::nullopt;
  const auto row = rows.row(0);
  TokenCounts counts{.file_id = file_id,
                     .tokenizer_fingerprint = tokenizer_fingerprint,
                     .rows = row.integer("row_count"),
                     .tokens = row.integer("tokens"),
                     .supervised_tokens = row.integer("supervised_tokens"),
                     .longest_tokens = row.integer("longest_tokens"),
                     .longest_line = row.integer("longest_line"),
                     .row_tokens = {},
                     .error_code = row.maybe_text("error_code"),
                     .error_message = row.maybe_text("error_message")};
  const std::string packed = row.bytes("row_tokens");
  counts.row_tokens.resize(packed.size() / sizeof(std::uint32_t));
  if (!packed.empty()) std::memcpy(counts.row_tokens.data(), packed.data(), counts.row_tokens.size() * sizeof(std::uint32_t));
  return counts;
}

}  // namespace finetuned::storage
