#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/signing.h"
#include "billing/transfer.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// A chain's end as it was when it was signed. What is signed: "FTH1", the ledger's byte as in an entry, 3 zero bytes, the
/// position (8), the hash (32), made_at in microseconds since 1970 (8); integers big-endian, 56 bytes in all.
struct LedgerHead {
  LedgerName ledger = LedgerName::kUsdNano;
  std::int64_t position = 0;
  std::string hash;  ///< 32 bytes
  std::int64_t made_at_micros = 0;
  std::string public_key;
  std::string signature;

  std::string message() const;
  bool signed_by(const std::string& key) const { return base::verify_signature(key, message(), signature); }
};

/// The ends of the chains now, signed; a ledger without transfers has none. System scope.
std::vector<LedgerHead> sign_ends(postgres::Transaction& tx, const base::SigningKey& key);

/// Signs and keeps each chain's end that stands behind its last kept head: all of them, or with `daily` those whose last head
/// is of an earlier day (UTC). Returns what it kept. System scope.
std::vector<LedgerHead> keep_heads(postgres::Transaction& tx, const base::SigningKey& key, bool daily);

/// The kept heads, oldest first. System scope.
std::vector<LedgerHead> read_heads(postgres::Transaction& tx);

/// Heads outside of the database, where who alters it does not reach: `heads.jsonl`, a kept head a line, and `latest.jsonl`,
/// the chains' ends as they were last sealed, rewritten each time.
///
///     {"ledger":"USD_NANO","position":12,"hash":HEX,"made_at_micros":N,"public_key":HEX,"signature":HEX}
class HeadFiles {
 public:
  explicit HeadFiles(std::filesystem::path directory) : directory_(std::move(directory)) {}

  /// Durable when it returns. Throws FileError.
  void append(const std::vector<LedgerHead>& heads) const;
  void put_latest(const std::vector<LedgerHead>& ends) const;
  /// All that both files have; a file that is not there has none. Throws FileError, and FormatError with the line.
  std::vector<LedgerHead> read() const;

 private:
  std::filesystem::path directory_;
};

/// As a line of these files, without its end.
std::string to_line(const LedgerHead& head);
/// Of any such file: an auditor's own copy. Throws FileError, FormatError.
std::vector<LedgerHead> read_head_file(const std::filesystem::path& file);

}  // namespace finetuned::billing
