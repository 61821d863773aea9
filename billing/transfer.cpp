#include "billing/transfer.h"

#include <stdexcept>
#include <utility>

#include "base/expects.h"

namespace finetuned::billing {

namespace {

constexpr std::pair<TransferKind, std::string_view> kKinds[] = {
    {TransferKind::kSingle, "single"}, {TransferKind::kPending, "pending"}, {TransferKind::kPost, "post"},
    {TransferKind::kVoid, "void"},     {TransferKind::kExpire, "expire"},   {TransferKind::kCorrection, "correction"}};
constexpr std::pair<LedgerName, std::string_view> kLedgers[] = {{LedgerName::kUsdNano, "USD_NANO"},
                                                                {LedgerName::kPointsMicro, "POINTS_MICRO"}};

}  // namespace

std::string to_string(TransferKind kind) {
  for (const auto& [known, word] : kKinds)
    if (known == kind) return std::string(word);
  base::broken_invariant("a kind of transfer that has a name", std::source_location::current());
}

TransferKind kind_named(std::string_view name) {
  for (const auto& [kind, word] : kKinds)
    if (name == word) return kind;
  throw std::invalid_argument("'" + std::string(name) + "' is no kind of transfer");
}

std::string to_string(LedgerName ledger) {
  for (const auto& [known, word] : kLedgers)
    if (known == ledger) return std::string(word);
  base::broken_invariant("a ledger that has a name", std::source_location::current());
}

LedgerName ledger_named(std::string_view name) {
  for (const auto& [ledger, word] : kLedgers)
    if (name == word) return ledger;
  throw std::invalid_argument("'" + std::string(name) + "' is no ledger");
}

}  // namespace finetuned::billing
