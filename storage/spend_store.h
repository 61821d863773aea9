#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// Whose spending it is: a project's, or without one the whole organization's.
struct Spender {
  std::string organization_id;
  std::optional<std::string> project_id;
};

struct NewSpendAlert {
  std::int64_t threshold_cents = 0;     ///< of US dollars a calendar month
  std::vector<std::string> recipients;  ///< e-mail addresses
  std::optional<std::string> subject_prefix;
};

/// How a spender stands in this calendar month (UTC).
struct Spending {
  std::optional<std::int64_t> limit_cents;
  std::int64_t spent_nano = 0;  ///< paid in this month, and held now
};

struct SpendAlert {
  std::string id;  ///< `alert-...`
  NewSpendAlert alert;
};

/// Limits and alerts of one spender. System scope.
class SpendStore {
 public:
  SpendStore(postgres::Transaction& tx, Spender spender) : tx_(tx), spender_(std::move(spender)) {}

  /// The limit in cents a calendar month.
  std::optional<std::int64_t> limit();
  void set_limit(std::int64_t cents);
  /// False where there is none.
  bool remove_limit();

  Spending spending();
  /// The same, and nobody else changes or locks the limit until the transaction ends. Also from a project's scope, where an
  /// organization's spending is the sum over projects that the transaction does not see otherwise. Whether there is a limit is
  /// looked up once in a transaction; what is spent, each time.
  Spending lock_spending();

  SpendAlert add_alert(const NewSpendAlert& alert);
  std::optional<SpendAlert> find_alert(const std::string& id);
  Page<SpendAlert> list_alerts(const PageRequest& request);
  /// Replaces it whole. nullopt where there is no such alert.
  std::optional<SpendAlert> replace_alert(const std::string& id, const NewSpendAlert& alert);
  bool remove_alert(const std::string& id);

 private:
  postgres::Transaction& tx_;
  Spender spender_;
};

}  // namespace finetuned::storage
