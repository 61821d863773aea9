#include "billing/ledger_entry.h"

#include <algorithm>
#include <string_view>

#include "base/expects.h"
#include "base/hex.h"
#include "base/sha256.h"

namespace finetuned::billing {

namespace {

/// Writes fields one behind the other; what is not written stays zero.
class Writer {
 public:
  explicit Writer(std::array<char, LedgerEntry::kBytes>& into) : into_(into) {}

  void text(std::string_view bytes) {
    std::copy(bytes.begin(), bytes.end(), into_.begin() + static_cast<std::ptrdiff_t>(at_));
    at_ += bytes.size();
  }
  void byte(int value) { into_[at_++] = static_cast<char>(value); }
  void integer(std::int64_t value) {
    for (int shift = 56; shift >= 0; shift -= 8)
      byte(static_cast<int>(static_cast<std::uint64_t>(value) >> shift & 0xff));
  }
  void uuid(const std::optional<std::string>& id) {
    if (!id) return skip(16);
    std::string digits = *id;
    std::erase(digits, '-');
    const auto bytes = base::hex_decode(digits);
    base::expects(bytes && bytes->size() == 16, "a UUID as PostgreSQL writes it");
    text(*bytes);
  }
  void digest(const std::optional<std::string>& of) { of ? text(base::sha256_bytes(*of)) : skip(32); }
  void skip(std::size_t bytes) { at_ += bytes; }
  std::size_t written() const { return at_; }

 private:
  std::array<char, LedgerEntry::kBytes>& into_;
  std::size_t at_ = 0;
};

}  // namespace

std::array<char, LedgerEntry::kBytes> LedgerEntry::bytes() const {
  std::array<char, kBytes> bytes{};
  Writer write(bytes);
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
  base::expects(write.written() == kBytes, "an entry has 208 bytes");
  return bytes;
}

std::string LedgerEntry::hash(const std::string& before) const {
  const auto mine = bytes();
  return base::sha256_bytes(before + std::string(mine.data(), mine.size()));
}

}  // namespace finetuned::billing
