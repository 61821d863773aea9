#include "billing/sealer.h"

#include <map>
#include <string>
#include <vector>

#include "base/hex.h"
#include "billing/inference_entry.h"
#include "billing/ledger_entry.h"
#include "billing/usage_entry.h"

namespace finetuned::billing {

namespace {

constexpr std::int64_t kSealerLock = 0x66740010;

// Statements of their own, the later ones by the primary key: joined, the planner, who cannot tell what row-level security lets through, reads
// every transfer.
constexpr char kWaiting[] = "SELECT seq, transfer_id, usage_seq, inference_seq FROM ledger_unsealed ORDER BY seq LIMIT $1";
const std::string kTransfers = std::string("SELECT ") + kTransferColumns + " FROM transfer WHERE transfer.id = ANY ($1::uuid[])";
const std::string kUsages = std::string("SELECT ") + kUsageColumns + " FROM usage WHERE usage.seq = ANY ($1::bigint[])";
const std::string kInferences =
    std::string("SELECT ") + kInferenceColumns + " FROM inference_usage WHERE inference_usage.seq = ANY ($1::bigint[])";
constexpr char kEnd[] = "SELECT position, hash FROM ledger_seal WHERE ledger = $1 ORDER BY position DESC LIMIT 1";
constexpr char kSeal[] =
    "INSERT INTO ledger_seal (ledger, position, transfer_id, usage_seq, inference_seq, prev_hash, hash)"
    " SELECT ledger, position, nullif(id, '')::uuid, nullif(usage, '')::bigint, nullif(inference, '')::bigint,"
    "  decode(before, 'hex'), decode(hash, 'hex')"
    " FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])"
    "  AS s (ledger, position, id, usage, inference, before, hash)";
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

/// What waits, by what the queue calls it.
struct Waiting {
  std::map<std::string, Transfer> transfers;
  std::map<std::string, UsageEntry> usages;
  std::map<std::string, InferenceEntry> inferences;
};

/// What the queue has in a column.
std::vector<std::string> named_in(const postgres::Result& queue, const char* column) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < queue.size(); ++i)
    if (const auto name = queue.row(i).maybe_text(column)) names.push_back(*name);
  return names;
}

Waiting read_waiting(postgres::Transaction& tx, const postgres::Result& queue) {
  Waiting waiting;
  if (const auto ids = named_in(queue, "transfer_id"); !ids.empty()) {
    const auto rows = tx.execute(kTransfers, {postgres::Value::texts(ids)});
    for (std::size_t i = 0; i < rows.size(); ++i) waiting.transfers.emplace(rows.row(i).text("id"), read_transfer(rows.row(i)));
  }
  if (const auto usages = named_in(queue, "usage_seq"); !usages.empty()) {
    const auto rows = tx.execute(kUsages, {postgres::Value::texts(usages)});
    for (std::size_t i = 0; i < rows.size(); ++i)
      waiting.usages.emplace(rows.row(i).text("usage_seq"), read_usage_entry(rows.row(i)));
  }
  if (const auto inferences = named_in(queue, "inference_seq"); !inferences.empty()) {
    const auto rows = tx.execute(kInferences, {postgres::Value::texts(inferences)});
    for (std::size_t i = 0; i < rows.size(); ++i)
      waiting.inferences.emplace(rows.row(i).text("inference_seq"), read_inference_entry(rows.row(i)));
  }
  return waiting;
}

/// Places to be written, and the chains' ends behind them.
class Seals {
 public:
  explicit Seals(postgres::Transaction& tx) : tx_(tx) {}

  void add(LedgerEntry entry) {
    const LedgerName ledger = entry.transfer.ledger;
    entry.position = end(ledger).position + 1;
    put(ledger, {.transfer = entry.transfer.id}, entry.hash(end(ledger).hash));
  }
  void add(UsageEntry entry) {
    entry.position = end(LedgerName::kUsdNano).position + 1;
    put(LedgerName::kUsdNano, {.usage = std::to_string(entry.seq)}, entry.hash(end(LedgerName::kUsdNano).hash));
  }
  void add(InferenceEntry entry) {
    entry.position = end(LedgerName::kUsdNano).position + 1;
    put(LedgerName::kUsdNano, {.inference = std::to_string(entry.seq)}, entry.hash(end(LedgerName::kUsdNano).hash));
  }
  void write() {
    using postgres::Value;
    tx_.execute(kSeal, {Value::texts(ledgers_), Value::texts(positions_), Value::texts(ids_), Value::texts(usages_),
                        Value::texts(inferences_), Value::texts(before_), Value::texts(hashes_)});
  }

 private:
  End& end(LedgerName ledger) {
    const auto known = ends_.find(ledger);
    return known != ends_.end() ? known->second : ends_.emplace(ledger, end_of(tx_, ledger)).first->second;
  }
  /// What is sealed: one of these.
  struct Name {
    std::string transfer = {}, usage = {}, inference = {};
  };
  void put(LedgerName ledger, const Name& name, const std::string& hash) {
    End& end = this->end(ledger);
    before_.push_back(base::hex_encode(end.hash));
    end = {end.position + 1, hash};
    ledgers_.push_back(to_string(ledger));
    positions_.push_back(std::to_string(end.position));
    ids_.push_back(name.transfer);
    usages_.push_back(name.usage);
    inferences_.push_back(name.inference);
    hashes_.push_back(base::hex_encode(hash));
  }

  postgres::Transaction& tx_;
  std::map<LedgerName, End> ends_;
  std::vector<std::string> ledgers_, positions_, ids_, usages_, inferences_, before_, hashes_;
};

}  // namespace

std::size_t seal_transfers(postgres::Transaction& tx, int most) {
  if (!tx.execute("SELECT pg_try_advisory_xact_lock($1) AS taken", {kSealerLock}).row(0).boolean("taken")) return 0;
  const auto queue = tx.execute(kWaiting, {most});
  if (queue.empty()) return 0;
  const Waiting waiting = read_waiting(tx, queue);
  Seals seals(tx);
  std::vector<std::string> sealed;
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const auto row = queue.row(i);
    // What is gone stays in the queue, and verify names it.
    if (const auto usage = waiting.usages.find(row.maybe_text("usage_seq").value_or("")); usage != waiting.usages.end())
      seals.add(usage->second);
    else if (const auto answer = waiting.inferences.find(row.maybe_text("inference_seq").value_or("")); answer != waiting.inferences.end())
      seals.add(answer->second);
    else if (const auto found = waiting.transfers.find(row.maybe_text("transfer_id").value_or("")); found != waiting.transfers.end())
      seals.add(LedgerEntry{.transfer = found->second, .position = 0});
    else
      continue;
    sealed.push_back(row.text("seq"));
  }
  if (sealed.empty()) return 0;
  seals.write();
  tx.execute(kSealed, {postgres::Value::texts(sealed)});
  return sealed.size();
}

}  // namespace finetuned::billing
