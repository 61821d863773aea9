#include "billing/sealer.h"

#include <map>
#include <string>
#include <vector>

#include "base/hex.h"
#include "billing/ledger_entry.h"

namespace finetuned::billing {

namespace {

constexpr std::int64_t kSealerLock = 0x66740010;

// Two statements, the second by the primary key: joined, the planner, who cannot tell what row-level security lets through, reads
// every transfer.
constexpr char kWaiting[] = "SELECT seq, transfer_id FROM ledger_unsealed ORDER BY seq LIMIT $1";
const std::string kTransfers = std::string("SELECT ") + kTransferColumns + " FROM transfer WHERE transfer.id = ANY ($1::uuid[])";
constexpr char kEnd[] = "SELECT position, hash FROM ledger_seal WHERE ledger = $1 ORDER BY position DESC LIMIT 1";
constexpr char kSeal[] =
    "INSERT INTO ledger_seal (ledger, position, transfer_id, prev_hash, hash)"
    " SELECT ledger, position, id, decode(before, 'hex'), decode(hash, 'hex')"
    " FROM unnest($1::text[], $2::bigint[], $3::uuid[], $4::text[], $5::text[]) AS s (ledger, position, id, before, hash)";
constexpr char kSealed[] = "DELETE FROM ledger_unsealed WHERE seq = ANY ($1::bigint[])";

struct End {
  std::int64_t position = 0;
  std::string hash = kBeforeFirst;
};

End end_of(postgres::Transaction& tx, LedgerName ledger) {
  const auto rows = tx.execute(kEnd, {to_string(ledger)});
  if (rows.empty()) return {};
  return {rows.row(0).integer("position"), rows.row(0).bytes("hash")};
}

std::map<std::string, Transfer> read_transfers(postgres::Transaction& tx, const postgres::Result& queue) {
  std::vector<std::string> ids;
  for (std::size_t i = 0; i < queue.size(); ++i) ids.push_back(queue.row(i).text("transfer_id"));
  const auto rows = tx.execute(kTransfers, {postgres::Value::texts(ids)});
  std::map<std::string, Transfer> transfers;
  for (std::size_t i = 0; i < rows.size(); ++i) transfers.emplace(rows.row(i).text("id"), read_transfer(rows.row(i)));
  return transfers;
}

}  // namespace

std::size_t seal_transfers(postgres::Transaction& tx, int most) {
  if (!tx.execute("SELECT pg_try_advisory_xact_lock($1) AS taken", {kSealerLock}).row(0).boolean("taken")) return 0;
  const auto queue = tx.execute(kWaiting, {most});
  if (queue.empty()) return 0;
  const auto transfers = read_transfers(tx, queue);
  std::map<LedgerName, End> ends;
  std::vector<std::string> ledgers, positions, ids, before, hashes, sealed;
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const auto found = transfers.find(queue.row(i).text("transfer_id"));
    if (found == transfers.end()) continue;  // gone: it stays here, and verify names it
    LedgerEntry entry{.transfer = found->second, .position = 0};
    const LedgerName ledger = entry.transfer.ledger;
    if (!ends.contains(ledger)) ends[ledger] = end_of(tx, ledger);
    End& end = ends[ledger];
    entry.position = ++end.position;
    before.push_back(base::hex_encode(end.hash));
    end.hash = entry.hash(end.hash);
    hashes.push_back(base::hex_encode(end.hash));
    ledgers.push_back(to_string(ledger));
    positions.push_back(std::to_string(entry.position));
    ids.push_back(entry.transfer.id);
    sealed.push_back(queue.row(i).text("seq"));
  }
  using postgres::Value;
  tx.execute(kSeal,
             {Value::texts(ledgers), Value::texts(positions), Value::texts(ids), Value::texts(before), Value::texts(hashes)});
  tx.execute(kSealed, {Value::texts(sealed)});
  return sealed.size();
}

}  // namespace finetuned::billing
