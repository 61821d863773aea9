#pragma once

#include <boost/json/object.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/file_store.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// Tokens of one file by one tokenizer. The fingerprint is the hash of all that turns a row into tokens: tokenizer and
/// chat template.
struct TokenCounts {
  std::string file_id;
  std::string tokenizer_fingerprint;
  std::int64_t rows = 0;
  std::int64_t tokens = 0;             ///< without any cut
  std::int64_t supervised_tokens = 0;
  std::int64_t longest_tokens = 0;
  std::int64_t longest_line = 0;       ///< 1-based line of the longest row
  std::vector<std::uint32_t> row_tokens;  ///< a row each, in file order
  std::optional<std::string> error_code;  ///< this tokenizer cannot take this file (its template refuses it, say)
  std::optional<std::string> error_message;
};

/// The right to check one file, until the lease ends. Every write names it.
struct IntakeLease {
  std::string file_id;
  std::int64_t epoch = 0;
};

struct IntakeClaim {
  File file;
  IntakeLease lease;
  int attempts = 0;  ///< 1 on the first claim
  std::vector<std::string> missing_fingerprints;  ///< registered tokenizers that have not counted this file
};

/// What intake found out about files.
class IntakeStore {
 public:
  explicit IntakeStore(postgres::Transaction& tx) : tx_(tx) {}

  /// The oldest unclaimed `fine-tune` file that is `uploaded`, or `processed` with a registered tokenizer yet to
  /// count it (a model imported later). SKIP LOCKED: two never get the same file. System scope.
  std::optional<IntakeClaim> claim(const std::string& owner, std::int64_t lease_seconds);
  /// These return false, having changed nothing, when the lease is lost: abandon the file.
  bool extend(const IntakeLease& lease, std::int64_t lease_seconds);
  bool put_counts(const IntakeLease& lease, const TokenCounts& counts);
  /// Ends the check of an `uploaded` file: report, status, end of the lease. `details` is shown as status_details.
  bool finish(const IntakeLease& lease, FileStatus status, const std::optional<std::string>& details,
              const boost::json::object& report);
  /// Ends a claim without a verdict: counts of later tokenizers are in, or the process shuts down. Attempts begin afresh.
  bool release(const IntakeLease& lease);
  /// Ends a claim that the storage failed: the next may come in `seconds`, and no attempt is counted.
  bool postpone(const IntakeLease& lease, std::int64_t seconds);

  std::optional<boost::json::object> report(const std::string& file_id);
  /// `with_rows` false leaves row_tokens empty: enough where nothing is cut.
  std::optional<TokenCounts> counts(const std::string& file_id, const std::string& tokenizer_fingerprint,
                                    bool with_rows);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
