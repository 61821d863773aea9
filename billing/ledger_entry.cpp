#include "billing/ledger_entry.h"

#include <string_view>

#include "billing/entry_writer.h"

namespace finetuned::billing {

std::array<char, LedgerEntry::kBytes> LedgerEntry::bytes() const {
  std::array<char, kBytes> bytes{};
  EntryWriter write(bytes);
  write.text("FTL1");
  write.byte(static_cast<int>(transfer.ledger) + 1);
  write.byte(static_cast<int>(transfer.kind) + 1);
  write.skip(2);  // zeros, so that numbers lie on 8 bytes
  for (const std::int64_t number : {position, transfer.seq})
    write.integer(number);
  for (const auto& id : {std::optional(transfer.id), transfer.pending_id, transfer.corrects_id})
    write.uuid(id);
  for (const std::int64_t number :
       {transfer.debit_id, transfer.credit_id, transfer.amount.value, transfer.created_micros, transfer.price_version.value_or(0)})
    write.integer(number);
  for (const auto& text : {std::optional(transfer.project_id), transfer.job_id, std::optional(transfer.reason)})
    write.digest(text);
  write.expect_whole();
  return bytes;
}

std::string LedgerEntry::hash(const std::string& before) const { return hash_behind(before, bytes()); }

}  // namespace finetuned::billing
