#include <algorithm>
#include <future>
#include <iterator>
#include <memory>
#include <stdexcept>

#include "base/clock.h"
#include "billing/inference_entry.h"
#include "billing/ledger_entry.h"
#include "billing/usage_entry.h"
#include "billing/verify.h"

namespace finetuned::billing {

namespace {

constexpr int kFetched = 2'000;
constexpr std::size_t kMostFaults = 100;

// By the index on id for each seal: both lie in the order of time, and nothing is sorted.
const std::string kOpen = std::string(
                              "DECLARE chain NO SCROLL CURSOR FOR SELECT s.position, s.transfer_id AS sealed_transfer,"
                              " s.usage_seq AS sealed_usage, s.inference_seq AS sealed_inference, s.prev_hash, s.hash,"
                              " num_nonnulls(transfer.id, usage.seq, inference_usage.seq) = 0 AS gone, ") +
                          kTransferColumns + ", " + kUsageColumns + ", " + kInferenceColumns +
                          " FROM ledger_seal s LEFT JOIN transfer ON transfer.id = s.transfer_id"
                          " LEFT JOIN usage ON usage.seq = s.usage_seq LEFT JOIN inference_usage ON inference_usage.seq = s.inference_seq"
                          " WHERE s.ledger = $1 AND s.position > $2 ORDER BY s.position";

constexpr char kUnsealed[] =
    "SELECT t.ledger || ', transfer ' || t.id AS what FROM transfer t WHERE NOT EXISTS (SELECT FROM ledger_seal s"
    "  WHERE s.transfer_id = t.id) AND NOT EXISTS (SELECT FROM ledger_unsealed u WHERE u.transfer_id = t.id)"
    " UNION ALL SELECT 'USD_NANO, usage ' || g.seq || ' of job ' || g.job_id FROM usage g WHERE NOT EXISTS (SELECT FROM ledger_seal s"
    "  WHERE s.usage_seq = g.seq) AND NOT EXISTS (SELECT FROM ledger_unsealed u WHERE u.usage_seq = g.seq)"
    " UNION ALL SELECT 'USD_NANO, usage ' || i.seq || ' of request ' || i.request_id FROM inference_usage i WHERE NOT EXISTS"
    "  (SELECT FROM ledger_seal s WHERE s.inference_seq = i.seq) AND NOT EXISTS (SELECT FROM ledger_unsealed u"
    "  WHERE u.inference_seq = i.seq) LIMIT 1";
constexpr char kWaiting[] =
    "SELECT count(*) FILTER (WHERE num_nonnulls(t.id, g.seq, i.seq) > 0) AS waiting,"
    " min(coalesce('transfer ' || u.transfer_id, 'usage ' || u.usage_seq, 'usage ' || u.inference_seq || ' of a request'))"
    "  FILTER (WHERE num_nonnulls(t.id, g.seq, i.seq) = 0) AS gone FROM ledger_unsealed u LEFT JOIN transfer t ON t.id = u.transfer_id"
    " LEFT JOIN usage g ON g.seq = u.usage_seq LEFT JOIN inference_usage i ON i.seq = u.inference_seq";

/// Walks one chain.
class Walk {
 public:
  Walk(LedgerName ledger, ChainPlace from, std::vector<LedgerHead> heads, LedgerVerification& verification)
      : ledger_(ledger), end_(std::move(from)), heads_(std::move(heads)), verification_(verification) {
    std::sort(heads_.begin(), heads_.end(), [](const auto& a, const auto& b) { return a.position < b.position; });
    while (head_ < heads_.size() && heads_[head_].position <= end_.position)
      ++head_;
  }

  void step(const postgres::Row& row) {
    const std::int64_t position = row.integer("position");
    const std::string before = row.bytes("prev_hash"), hash = row.bytes("hash");
    if (position != end_.position + 1)
      fault(
          position, name_of(row),
          "positions " + std::to_string(end_.position + 1) + " to " + std::to_string(position - 1) + " before it are missing");
    else if (before != end_.hash && !altered_)
      fault(position, name_of(row), "what was sealed before it is missing or was altered");
    const std::string wrong = row.boolean("gone") ? "it was sealed, and is gone" : wrong_with(row, position, before, hash);
    altered_ = !wrong.empty();
    if (altered_) fault(position, name_of(row), wrong);
    end_ = {position, hash};
    ++verification_.sealed;
    meet_heads();
  }

  /// Beyond the last row.
  ChainPlace finish() {
    for (; head_ < heads_.size(); ++head_)
      fault(heads_[head_].position, "transfer (gone)",
            "the chain ends at position " + std::to_string(end_.position) + ", before this one, which the head of " +
                made(heads_[head_]) + " covers: its end was cut off");
    return end_;
  }

 private:
  static std::string name_of(const postgres::Row& row) {
    if (const auto transfer = row.maybe_text("sealed_transfer")) return "transfer " + *transfer;
    if (const auto answer = row.maybe_text("sealed_inference"))
      return "usage " + *answer + " of request " + row.maybe_text("inference_request").value_or("(gone)");
    return "usage " + row.maybe_text("sealed_usage").value_or("(none)") + " of job " + row.maybe_text("usage_job").value_or("(gone)");
  }

  /// Empty where the transfer or the usage is what was sealed.
  std::string wrong_with(const postgres::Row& row, std::int64_t position, const std::string& before,
                         const std::string& hash) const {
    try {
      if (!row.is_null("sealed_usage")) {
        UsageEntry usage = read_usage_entry(row);
        usage.position = position;
        return usage.hash(before) == hash ? "" : "its contents are not those that were sealed";
      }
      if (!row.is_null("sealed_inference")) {
        InferenceEntry answer = read_inference_entry(row);
        answer.position = position;
        return answer.hash(before) == hash ? "" : "its contents are not those that were sealed";
      }
      const LedgerEntry entry{.transfer = read_transfer(row), .position = position};
      if (entry.transfer.ledger != ledger_)
        return "it was sealed in this ledger, and is in " + to_string(entry.transfer.ledger) + " now";
      return entry.hash(before) == hash ? "" : "its contents are not those that were sealed";
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
  }

  void meet_heads() {
    for (; head_ < heads_.size() && heads_[head_].position <= end_.position; ++head_)
      if (heads_[head_].position == end_.position && heads_[head_].hash != end_.hash)
        fault(end_.position, "transfer (its hash)",
              "is not the one that the head of " + made(heads_[head_]) + " covers: this row or one before it was replaced");
  }

  static std::string made(const LedgerHead& head) {
    return base::iso8601_utc(std::chrono::system_clock::time_point(std::chrono::microseconds(head.made_at_micros)));
  }

  void fault(std::int64_t position, const std::string& name, const std::string& what) {
    if (verification_.faults.size() >= kMostFaults) return;
    verification_.faults.push_back(
        {"chain", to_string(ledger_) + " position " + std::to_string(position) + ", " + name + ": " + what});
  }

  LedgerName ledger_;
  ChainPlace end_;
  bool altered_ = false;  ///< the row before: what follows on it is named once
  std::vector<LedgerHead> heads_;
  std::size_t head_ = 0;
  LedgerVerification& verification_;
};

/// Hashes some rows while the next ones are fetched.
void walk_all(postgres::Transaction& tx, Walk& walk) {
  const std::string fetch = "FETCH " + std::to_string(kFetched) + " FROM chain";
  std::future<void> walked;
  for (auto rows = std::make_shared<const postgres::Result>(tx.execute(fetch)); !rows->empty();
       rows = std::make_shared<const postgres::Result>(tx.execute(fetch))) {
    if (walked.valid()) walked.get();
    walked = std::async(std::launch::async, [&walk, rows] {
      for (std::size_t i = 0; i < rows->size(); ++i)
        walk.step(rows->row(i));
    });
  }
  if (walked.valid()) walked.get();
}

void find_unsealed(postgres::Transaction& tx, LedgerVerification& verification) {
  const auto forgotten = tx.execute(kUnsealed);
  if (!forgotten.empty())
    verification.faults.push_back({"chain", forgotten.row(0).text("what") +
                                                ": it is neither sealed nor does it wait for its seal: its seal was removed"});
  const auto waiting = tx.execute(kWaiting);
  verification.unsealed = waiting.row(0).integer("waiting");
  if (const auto gone = waiting.row(0).maybe_text("gone"))
    verification.faults.push_back({"chain", *gone + ": it waits for its seal, and is gone"});
}

}  // namespace

ChainPlaces verify_chains(postgres::Transaction& tx, const ChainPlaces& from, const std::vector<LedgerHead>& heads,
                          LedgerVerification& verification) {
  ChainPlaces ends;
  for (const LedgerName ledger : {LedgerName::kUsdNano, LedgerName::kPointsMicro}) {
    std::vector<LedgerHead> own;
    std::copy_if(heads.begin(), heads.end(), std::back_inserter(own), [&](const auto& head) { return head.ledger == ledger; });
    const auto known = from.find(ledger);
    const ChainPlace start = known == from.end() ? ChainPlace{0, kBeforeFirst} : known->second;
    if (start.position > 0) {
      const auto there =
          tx.execute("SELECT hash FROM ledger_seal WHERE ledger = $1 AND position = $2", {to_string(ledger), start.position});
      if (there.empty() || there.row(0).bytes("hash") != start.hash)
        verification.faults.push_back({"chain", to_string(ledger) + " position " + std::to_string(start.position) +
                                                    ": it is not there as it was verified before"});
    }
    Walk walk(ledger, start, std::move(own), verification);
    tx.execute(kOpen, {to_string(ledger), start.position});
    walk_all(tx, walk);
    tx.execute("CLOSE chain");
    ends[ledger] = walk.finish();
  }
  find_unsealed(tx, verification);
  return ends;
}

}  // namespace finetuned::billing
