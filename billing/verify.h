#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "billing/ledger_head.h"
#include "storage/postgres/pool.h"

namespace finetuned::billing {

/// One broken rule: the first bad row of its kind, and what is wrong with it.
struct LedgerFault {
  std::string rule;  ///< `I1`..`I6` as in verify_ledger, `chain`, `head`, `audit`
  std::string detail;
};

struct LedgerVerification {
  std::int64_t accounts = 0;
  std::int64_t transfers = 0;
  std::int64_t usages = 0;  ///< of jobs and of requests
  std::int64_t sealed = 0;    ///< of the transfers and usages, those hashed again
  std::int64_t unsealed = 0;  ///< those that wait for the sealer: no fault
  std::int64_t heads = 0;
  std::int64_t audit_entries = 0;
  std::vector<LedgerFault> faults;
};

/// Replays balances, holds and usage, each rule in one statement: I1 sums of debits and credits agree, posted and pending, and
/// no transfer leaves its ledger or its project; I2 no prepaid account owes more than its credit limit; I3 cached balances are the replay of the
/// transfers; I4 a settled job's hold is resolved by exactly one transfer, an unfinished one's by none, a request's by one or is waited
/// for, and what resolves or corrects a transfer fits it; I5 a job's usage is its trained tokens and its charge their price, range by
/// range; a request's charge is the price of its usage; I6 (verify_donations). System scope.
LedgerVerification verify_ledger(postgres::Transaction& tx);

/// I6: what donated workers earned is the price of the steps that are recorded, each transfer moves what its row says, a
/// verdict moves what waited for it, and nothing else lies in their escrow.
void verify_donations(postgres::Transaction& tx, LedgerVerification& verification);

/// A place in a chain, and the hash there.
struct ChainPlace {
  std::int64_t position = 0;
  std::string hash;
};
using ChainPlaces = std::map<LedgerName, ChainPlace>;

/// Reads the chains with their transfers and usage behind `from`, by a cursor and in bounded memory, and hashes all of it again; where a
/// chain has no more what stood at `from`, that is a fault. Adds at most a hundred faults of rule `chain`, each altered, moved
/// or missing row by its name, and counts sealed and unsealed. Where a head (whose signature is the caller's to check) names a
/// position on the way or beyond the end, the hash there must be its. Returns the ends. System scope, best in a snapshot.
ChainPlaces verify_chains(postgres::Transaction& tx, const ChainPlaces& from, const std::vector<LedgerHead>& heads,
                          LedgerVerification& verification);

/// What `finetuned ledger verify` checks beside the database itself.
struct KnownHeads {
  std::vector<LedgerHead> from_files;    ///< beside those of the table; read before the snapshot is made
  std::vector<std::string> public_keys;  ///< that heads may be signed by
};

/// All of it in one snapshot, by two of the pool's connections at once: verify_ledger, the chains from their beginnings, every signed
/// head, the audit log's chains, and each credit limit as the audit log has it.
LedgerVerification verify_books(postgres::Pool& pool, const KnownHeads& known);

}  // namespace finetuned::billing
