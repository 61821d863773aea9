#include "billing/ledger.h"

#include <cctype>

#include "base/errors.h"
#include "base/expects.h"
#include "storage/cursor.h"

namespace finetuned::billing {

namespace {

using base::NanoDollars;

constexpr char kSelectTransfer[] =
    "SELECT transfer.id, transfer.project_id, transfer.kind, debit.kind AS debit_account, credit.kind AS credit_account,"
    " amount, pending_id, job_id, price_version, reason, extract(epoch FROM created_at)::bigint AS created_at"
    " FROM transfer JOIN account debit ON debit.id = debit_id JOIN account credit ON credit.id = credit_id WHERE ";

constexpr std::pair<TransferKind, const char*> kKinds[] = {
    {TransferKind::kSingle, "single"}, {TransferKind::kPending, "pending"}, {TransferKind::kPost, "post"},
    {TransferKind::kVoid, "void"},     {TransferKind::kExpire, "expire"},   {TransferKind::kCorrection, "correction"}};

TransferKind kind_named(const std::string& name) {
  for (const auto& [kind, word] : kKinds)
    if (name == word) return kind;
  base::broken_invariant("a kind of transfer that we know", std::source_location::current());
}

Transfer read_transfer(const postgres::Row& row) {
  return {.id = row.text("id"),
          .project_id = row.text("project_id"),
          .kind = kind_named(row.text("kind")),
          .debit_account = row.text("debit_account"),
          .credit_account = row.text("credit_account"),
          .amount = {row.integer("amount")},
          .pending_id = row.maybe_text("pending_id"),
          .job_id = row.maybe_text("job_id"),
          .price_version = row.maybe_integer("price_version"),
          .reason = row.text("reason"),
          .created_at = row.integer("created_at")};
}

/// A project's three accounts, their rows locked.
struct Accounts {
  std::int64_t funding = 0;
  std::int64_t prepaid = 0;
  std::int64_t revenue = 0;
  NanoDollars available;  ///< on prepaid
};

Accounts lock_accounts(postgres::Transaction& tx, const std::string& project_id) {
  const std::string select =
      "SELECT id, kind, credits_posted - debits_posted - debits_pending AS available FROM account"
      " WHERE project_id = $1 AND ledger = 'USD_NANO' ORDER BY id FOR UPDATE";
  auto rows = tx.execute(select, {project_id});
  if (rows.size() < 3) {
    tx.execute(
        "INSERT INTO account (project_id, ledger, kind, no_overdraft) VALUES ($1, 'USD_NANO', 'prepaid', true),"
        " ($1, 'USD_NANO', 'revenue', false), ($1, 'USD_NANO', 'funding', false)"
        " ON CONFLICT (project_id, ledger, kind) DO NOTHING",
        {project_id});
    rows = tx.execute(select, {project_id});
  }
  base::expects(rows.size() == 3, "a project has its three accounts");
  Accounts accounts;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    const std::string kind = row.text("kind");
    if (kind == "funding") accounts.funding = row.integer("id");
    if (kind == "revenue") accounts.revenue = row.integer("id");
    if (kind == "prepaid") {
      accounts.prepaid = row.integer("id");
      accounts.available = {row.integer("available")};
    }
  }
  return accounts;
}

bool is_uuid(const std::string& text) {
  if (text.size() != 36) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? text[i] != '-' : !std::isxdigit(static_cast<unsigned char>(text[i]))) return false;
  }
  return true;
}

void expect_same(bool same, const std::string& transfer_id) {
  if (!same) throw TransferConflict("transfer " + transfer_id + " is in the ledger with other contents");
}

}  // namespace

std::string to_string(TransferKind kind) {
  for (const auto& [known, word] : kKinds)
    if (known == kind) return word;
  return "single";
}

InsufficientFunds::InsufficientFunds(NanoDollars has, NanoDollars needs)
    : std::runtime_error("the project's balance is " + base::format_dollars({needs.value - has.value}) + " short: " +
                         base::format_dollars(needs) + " needed, " + base::format_dollars(has) + " available"),
      available(has), needed(needs) {}

bool Ledger::credit(const std::string& transfer_id, const std::string& project_id, NanoDollars amount,
                    const std::string& reason) {
  base::expects(amount.value > 0, "a credit is positive");
  const Accounts accounts = lock_accounts(tx_, project_id);
  if (const auto known = find(transfer_id)) {
    expect_same(known->kind == TransferKind::kSingle && known->project_id == project_id && known->amount == amount,
                transfer_id);
    return false;
  }
  tx_.execute(
      "INSERT INTO transfer (id, project_id, ledger, debit_id, credit_id, amount, kind, reason)"
      " VALUES ($1::uuid, $2, 'USD_NANO', $3, $4, $5, 'single', $6)",
      {transfer_id, project_id, accounts.funding, accounts.prepaid, amount.value, reason});
  tx_.execute("UPDATE account SET debits_posted = debits_posted + $2 WHERE id = $1", {accounts.funding, amount.value});
  tx_.execute("UPDATE account SET credits_posted = credits_posted + $2 WHERE id = $1",
              {accounts.prepaid, amount.value});
  return true;
}

bool Ledger::hold(const std::string& transfer_id, const std::string& project_id, NanoDollars amount,
                  const std::string& job_id, std::int64_t price_version) {
  base::expects(amount.value > 0, "a hold is positive");
  const Accounts accounts = lock_accounts(tx_, project_id);
  if (const auto known = find(transfer_id)) {
    expect_same(known->kind == TransferKind::kPending && known->project_id == project_id && known->amount == amount &&
                    known->job_id == job_id,
                transfer_id);
    return false;
  }
  if (accounts.available < amount) throw InsufficientFunds(accounts.available, amount);
  tx_.execute_later(
      "INSERT INTO transfer (id, project_id, ledger, debit_id, credit_id, amount, kind, job_id, price_version, reason)"
      " VALUES ($1::uuid, $2, 'USD_NANO', $3, $4, $5, 'pending', $6, $7, $8)",
      {transfer_id, project_id, accounts.prepaid, accounts.revenue, amount.value, job_id, price_version,
       "held for " + job_id});
  tx_.execute_later("UPDATE account SET debits_pending = debits_pending + $2 WHERE id = $1",
              {accounts.prepaid, amount.value});
  tx_.execute_later("UPDATE account SET credits_pending = credits_pending + $2 WHERE id = $1",
              {accounts.revenue, amount.value});
  return true;
}

bool Ledger::resolve(const std::string& transfer_id, const std::string& hold_id, NanoDollars charged,
                     const std::string& reason) {
  const auto held = find(hold_id);
  if (!held || held->kind != TransferKind::kPending) throw TransferConflict("no hold " + hold_id + " in the ledger");
  const Accounts accounts = lock_accounts(tx_, held->project_id);
  const bool posts = charged.value > 0;
  const TransferKind kind = posts ? TransferKind::kPost : TransferKind::kVoid;
  const NanoDollars amount = posts ? charged : held->amount;
  if (const auto known = find(transfer_id)) {
    expect_same(known->kind == kind && known->pending_id == hold_id && known->amount == amount, transfer_id);
    return false;
  }
  if (charged > held->amount)
    throw TransferConflict("a charge of " + base::format_dollars(charged) + " is more than its hold " + hold_id);
  const auto resolved = tx_.execute(
      "SELECT id FROM transfer WHERE pending_id = $1::uuid AND kind IN ('post', 'void', 'expire')", {hold_id});
  if (!resolved.empty())
    throw TransferConflict("hold " + hold_id + " is resolved already by " + resolved.row(0).text("id"));
  tx_.execute(
      "INSERT INTO transfer (id, project_id, ledger, debit_id, credit_id, amount, kind, pending_id, job_id,"
      " price_version, reason) VALUES ($1::uuid, $2, 'USD_NANO', $3, $4, $5, $6, $7::uuid, $8, $9, $10)",
      {transfer_id, held->project_id, accounts.prepaid, accounts.revenue, amount.value, to_string(kind), hold_id,
       held->job_id, held->price_version, reason});
  tx_.execute(
      "UPDATE account SET debits_pending = debits_pending - $2, debits_posted = debits_posted + $3 WHERE id = $1",
      {accounts.prepaid, held->amount.value, charged.value});
  tx_.execute(
      "UPDATE account SET credits_pending = credits_pending - $2, credits_posted = credits_posted + $3 WHERE id = $1",
      {accounts.revenue, held->amount.value, charged.value});
  return true;
}

bool Ledger::post(const std::string& transfer_id, const std::string& hold_id, NanoDollars amount,
                  const std::string& reason) {
  base::expects(amount.value > 0, "a charge is positive");
  return resolve(transfer_id, hold_id, amount, reason);
}

bool Ledger::release(const std::string& transfer_id, const std::string& hold_id, const std::string& reason) {
  return resolve(transfer_id, hold_id, NanoDollars{0}, reason);
}

Balance Ledger::balance(const std::string& project_id) {
  const auto rows = tx_.execute(
      "SELECT credits_posted, debits_posted, debits_pending FROM account"
      " WHERE project_id = $1 AND ledger = 'USD_NANO' AND kind = 'prepaid'",
      {project_id});
  if (rows.empty()) return {};
  const auto row = rows.row(0);
  Balance balance;
  balance.credited = {row.integer("credits_posted")};
  balance.spent = {row.integer("debits_posted")};
  balance.held = {row.integer("debits_pending")};
  balance.available = {balance.credited.value - balance.spent.value - balance.held.value};
  return balance;
}

std::optional<Transfer> Ledger::find(const std::string& transfer_id) {
  const auto rows = tx_.execute(std::string(kSelectTransfer) + "transfer.id = $1::uuid", {transfer_id});
  if (rows.empty()) return std::nullopt;
  return read_transfer(rows.row(0));
}

storage::Page<Transfer> Ledger::list(const std::string& project_id, const storage::PageRequest& request) {
  if (request.after && !is_uuid(*request.after))
    throw base::bad_request("invalid_cursor", "No transfer '" + *request.after + "' to list after.", "after");
  return storage::read_page(tx_, request, "transfer", "id",
                            std::string(kSelectTransfer) + "transfer.project_id = $1", {project_id}, read_transfer);
}

}  // namespace finetuned::billing
