#include "billing/ledger.h"

#include <utility>

#include "base/errors.h"
#include "base/expects.h"
#include "base/uuid.h"
#include "storage/cursor.h"

namespace finetuned::billing {

namespace {

const std::string kSelectTransfer =
    std::string("SELECT ") + kTransferColumns +
    ", debit.kind AS debit_account, credit.kind AS credit_account FROM transfer JOIN account debit ON debit.id = debit_id"
    " JOIN account credit ON credit.id = credit_id WHERE ";

// Both balances move with the row, or nothing does: an id that is there already, or a hold that is resolved, inserts none.
constexpr char kMove[] =
    "WITH inserted AS (INSERT INTO transfer (id, project_id, ledger, debit_id, credit_id, amount, kind, pending_id,"
    "  corrects_id, job_id, price_version, reason)"
    "  VALUES ($1::uuid, $2, $3, $4, $5, $6, $7, $8::uuid, $9::uuid, $10, $11, $12)"
    "  ON CONFLICT DO NOTHING RETURNING debit_id, credit_id),"
    " debited AS (UPDATE account SET debits_pending = debits_pending + $13::bigint, debits_posted = debits_posted + $14::bigint,"
    "  owing_allowed = greatest(credit_limit, least(owing_allowed,"
    "   debits_posted + debits_pending - credits_posted + $13::bigint + $14::bigint))"
    "  FROM inserted WHERE account.id = inserted.debit_id),"
    " credited AS (UPDATE account SET credits_pending = credits_pending + $13::bigint,"
    "  credits_posted = credits_posted + $14::bigint, owing_allowed = greatest(credit_limit, least(owing_allowed,"
    "   debits_posted + debits_pending - credits_posted - $14::bigint))"
    "  FROM inserted WHERE account.id = inserted.credit_id)"
    " SELECT count(*) AS moved FROM inserted";

Transfer read_with_accounts(const postgres::Row& row) {
  Transfer transfer = read_transfer(row);
  transfer.debit_account = row.text("debit_account");
  transfer.credit_account = row.text("credit_account");
  return transfer;
}

std::string shown(const std::optional<std::string>& text) {
  return text ? "'" + *text + "'" : "none";
}

/// Throws where a transfer of the ledger is not the one that was asked for under its id.
void expect_same(const Transfer& known, const Transfer& asked) {
  const auto expect = [&](const char* what, const std::string& is, const std::string& should) {
    if (is != should)
      throw TransferConflict("transfer " + known.id + " is in the ledger with the " + what + " " + is + ", not " + should);
  };
  const auto version = [](const Transfer& of) { return of.price_version ? std::to_string(*of.price_version) : "none"; };
  expect("ledger", to_string(known.ledger), to_string(asked.ledger));
  expect("kind", to_string(known.kind), to_string(asked.kind));
  expect("project", shown(known.project_id), shown(asked.project_id));
  expect("amount", std::to_string(known.amount.value), std::to_string(asked.amount.value));
  expect("hold", shown(known.pending_id), shown(asked.pending_id));
  expect("corrected transfer", shown(known.corrects_id), shown(asked.corrects_id));
  expect("job", shown(known.job_id), shown(asked.job_id));
  expect("price version", version(known), version(asked));
  expect("reason", shown(known.reason), shown(asked.reason));
}

std::string format_amount(LedgerName ledger, Amount amount) {
  if (ledger == LedgerName::kUsdNano) return base::format_dollars(amount);
  return std::to_string(amount.value) + " micro-points";
}

}  // namespace

InsufficientFunds::InsufficientFunds(LedgerName ledger, Amount has, Amount needs)
    : std::runtime_error("the project's balance is " + format_amount(ledger, {needs.value - has.value}) +
                         " short: " + format_amount(ledger, needs) + " needed, " + format_amount(ledger, has) + " available"),
      available(has), needed(needs) {}

/// Two accounts of a project, their rows locked.
struct Ledger::Pair {
  std::int64_t from = 0;
  std::int64_t to = 0;
  Amount available;  ///< on `from`
};

/// What an account that is to be debited may still spend.
struct Ledger::Debit {
  Amount available;
  bool may_overdraw = false;
};

/// By how much a transfer changes both of its accounts.
struct Ledger::Effect {
  std::int64_t pending = 0;
  std::int64_t posted = 0;
};

Ledger::Pair Ledger::lock_pair(const std::string& project_id, AccountKind from, AccountKind to) {
  const std::string select =
      "SELECT id, kind, credits_posted + credit_limit - debits_posted - debits_pending AS available FROM account WHERE project_id = $1"
      " AND ledger = $2 AND kind IN ($3, $4) ORDER BY id FOR NO KEY UPDATE";
  const std::string ledger = to_string(ledger_);
  auto rows = tx_.execute(select, {project_id, ledger, to_string(from), to_string(to)});
  if (rows.size() < 2) {
    for (const AccountKind kind : {AccountKind::kPrepaid, AccountKind::kRevenue, AccountKind::kFunding, from, to})
      tx_.execute(
          "INSERT INTO account (project_id, ledger, kind, no_overdraft) VALUES ($1, $2, $3, $4)"
          " ON CONFLICT (project_id, ledger, kind) DO NOTHING",
          {project_id, ledger, to_string(kind), !may_overdraw(kind)});
    rows = tx_.execute(select, {project_id, ledger, to_string(from), to_string(to)});
  }
  base::expects(rows.size() == 2, "a project has the two accounts");
  Pair pair;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto row = rows.row(i);
    if (row.text("kind") == to_string(to)) {
      pair.to = row.integer("id");
    } else {
      pair.from = row.integer("id");
      pair.available = {row.integer("available")};
    }
  }
  return pair;
}

Ledger::Debit Ledger::lock_debit(std::int64_t debit_id, std::int64_t credit_id) {
  const auto rows = tx_.execute(
      "SELECT id, no_overdraft, credits_posted + credit_limit - debits_posted - debits_pending AS available FROM account"
      " WHERE id IN ($1, $2) ORDER BY id FOR NO KEY UPDATE",
      {debit_id, credit_id});
  base::expects(rows.size() == 2, "a transfer's two accounts");
  const auto debit = rows.row(rows.row(0).integer("id") == debit_id ? 0 : 1);
  return {.available = {debit.integer("available")}, .may_overdraw = !debit.boolean("no_overdraft")};
}

/// True where this very transfer is in the ledger. Throws TransferConflict where another one is under its id.
bool Ledger::is_known(const Transfer& transfer) {
  const auto known = find(transfer.id);
  if (known) expect_same(*known, transfer);
  return known.has_value();
}

/// The accounts are locked. False where it is there already.
bool Ledger::move(const Transfer& transfer, const Effect& effect) {
  const auto moved =
      tx_.execute(kMove, {transfer.id, transfer.project_id, to_string(transfer.ledger), transfer.debit_id, transfer.credit_id,
                          transfer.amount.value, to_string(transfer.kind), transfer.pending_id, transfer.corrects_id,
                          transfer.job_id, transfer.price_version, transfer.reason, effect.pending, effect.posted});
  if (moved.row(0).integer("moved") == 1) return true;
  if (is_known(transfer)) return false;
  if (transfer.pending_id) {
    const auto resolved = tx_.execute(
        "SELECT id FROM transfer WHERE pending_id = $1::uuid AND kind IN ('post', 'void', 'expire')", {*transfer.pending_id});
    if (!resolved.empty())
      throw TransferConflict("hold " + *transfer.pending_id + " is resolved already by " + resolved.row(0).text("id"));
  }
  throw TransferConflict("the transfer id " + transfer.id + " is taken: choose another");
}

/// What credit and hold are made of; where its money goes is theirs to say.
Transfer Ledger::new_transfer(const std::string& id, const std::string& project_id, TransferKind kind, Amount amount,
                              const std::string& reason) const {
  Transfer transfer;
  transfer.id = id;
  transfer.project_id = project_id;
  transfer.ledger = ledger_;
  transfer.kind = kind;
  transfer.amount = amount;
  transfer.reason = reason;
  return transfer;
}

bool Ledger::credit(const std::string& transfer_id, const std::string& project_id, Amount amount, const std::string& reason) {
  return move_between(transfer_id, project_id, AccountKind::kFunding, AccountKind::kPrepaid, amount, reason);
}

bool Ledger::move_between(const std::string& transfer_id, const std::string& project_id, AccountKind from, AccountKind to,
                          Amount amount, const std::string& reason) {
  base::expects(amount.value > 0, "what is moved is positive");
  const Pair pair = lock_pair(project_id, from, to);
  Transfer transfer = new_transfer(transfer_id, project_id, TransferKind::kSingle, amount, reason);
  transfer.debit_id = pair.from;
  transfer.credit_id = pair.to;
  if (!may_overdraw(from) && pair.available < amount) {
    if (is_known(transfer)) return false;
    throw InsufficientFunds(ledger_, pair.available, amount);
  }
  return move(transfer, {.pending = 0, .posted = amount.value});
}

/// `transfer` has what is its caller's to say.
bool Ledger::hold_from(AccountKind from, Transfer transfer) {
  base::expects(transfer.amount.value > 0, "a hold is positive");
  const AccountKind to = ledger_ == LedgerName::kUsdNano ? AccountKind::kRevenue : AccountKind::kLiquidity;
  const Pair pair = lock_pair(transfer.project_id, from, to);
  transfer.debit_id = pair.from;
  transfer.credit_id = pair.to;
  if (!may_overdraw(from) && pair.available < transfer.amount) {
    if (is_known(transfer)) return false;
    throw InsufficientFunds(ledger_, pair.available, transfer.amount);
  }
  return move(transfer, {.pending = transfer.amount.value, .posted = 0});
}

bool Ledger::hold(const std::string& transfer_id, const std::string& project_id, Amount amount, const std::string& job_id,
                  std::int64_t price_version) {
  Transfer transfer = new_transfer(transfer_id, project_id, TransferKind::kPending, amount, "held for " + job_id);
  transfer.job_id = job_id;
  transfer.price_version = price_version;
  return hold_from(AccountKind::kPrepaid, std::move(transfer));
}

bool Ledger::hold_request(const std::string& transfer_id, const std::string& project_id, Amount amount,
                          const std::string& request_id) {
  return hold_from(AccountKind::kPrepaid,
                   new_transfer(transfer_id, project_id, TransferKind::kPending, amount, "held for " + request_id));
}

bool Ledger::hold_liquidity(const std::string& transfer_id, const std::string& project_id, Amount amount,
                            const std::string& job_id, std::int64_t price_version) {
  base::expects(ledger_ == LedgerName::kUsdNano, "liquidity is held in dollars");
  Transfer transfer = new_transfer(transfer_id, project_id, TransferKind::kPending, amount, "held for " + job_id);
  transfer.job_id = job_id;
  transfer.price_version = price_version;
  return hold_from(AccountKind::kLiquidity, std::move(transfer));
}

bool Ledger::resolve(TransferKind kind, const std::string& transfer_id, const std::string& hold_id,
                     std::optional<Amount> charged, const std::string& reason) {
  const auto hold = find(hold_id);
  if (!hold || hold->kind != TransferKind::kPending || hold->ledger != ledger_)
    throw TransferConflict("no hold " + hold_id + " in the ledger " + to_string(ledger_));
  lock_debit(hold->debit_id, hold->credit_id);
  Transfer transfer = *hold;
  transfer.id = transfer_id;
  transfer.kind = kind;
  transfer.amount = charged.value_or(hold->amount);
  transfer.pending_id = hold_id;
  transfer.reason = reason;
  if (transfer.amount > hold->amount) {
    is_known(transfer);  // what stands under the id is named before what is wrong with this
    throw TransferConflict("a charge of " + format_amount(ledger_, transfer.amount) + " is more than its hold " + hold_id +
                           " of " + format_amount(ledger_, hold->amount));
  }
  return move(transfer, {.pending = -hold->amount.value, .posted = charged ? charged->value : 0});
}

bool Ledger::post(const std::string& transfer_id, const std::string& hold_id, Amount amount, const std::string& reason) {
  base::expects(amount.value > 0, "a charge is positive");
  return resolve(TransferKind::kPost, transfer_id, hold_id, amount, reason);
}

bool Ledger::release(const std::string& transfer_id, const std::string& hold_id, const std::string& reason) {
  return resolve(TransferKind::kVoid, transfer_id, hold_id, std::nullopt, reason);
}

bool Ledger::expire(const std::string& transfer_id, const std::string& hold_id, const std::string& reason) {
  return resolve(TransferKind::kExpire, transfer_id, hold_id, std::nullopt, reason);
}

bool Ledger::correct(const std::string& transfer_id, const std::string& corrected_id, Amount amount,
                     const std::string& reason) {
  base::expects(amount.value > 0, "a correction is positive");
  const auto corrected = find(corrected_id);
  if (!corrected || corrected->ledger != ledger_)
    throw TransferConflict("no transfer " + corrected_id + " in the ledger " + to_string(ledger_) + " to correct");
  if (corrected->kind != TransferKind::kSingle && corrected->kind != TransferKind::kPost &&
      corrected->kind != TransferKind::kCorrection)
    throw TransferConflict("transfer " + corrected_id + " is a " + to_string(corrected->kind) +
                           ", which moved nothing to correct");
  const Debit debit = lock_debit(corrected->credit_id, corrected->debit_id);
  Transfer transfer = *corrected;
  transfer.id = transfer_id;
  transfer.kind = TransferKind::kCorrection;
  std::swap(transfer.debit_id, transfer.credit_id);
  transfer.amount = amount;
  transfer.pending_id = std::nullopt;
  transfer.corrects_id = corrected_id;
  transfer.reason = reason;
  if (is_known(transfer)) return false;
  const auto sum = tx_.execute(
      "SELECT coalesce(sum(amount), 0)::bigint AS corrected FROM transfer WHERE corrects_id = $1::uuid AND kind = 'correction'",
      {corrected_id});
  const Amount left{corrected->amount.value - sum.row(0).integer("corrected")};
  if (amount > left)
    throw TransferConflict("a correction of " + format_amount(ledger_, amount) + " is more than what is left of transfer " +
                           corrected_id + " to correct: " + format_amount(ledger_, left));
  if (!debit.may_overdraw && debit.available < amount) throw InsufficientFunds(ledger_, debit.available, amount);
  return move(transfer, {.pending = 0, .posted = amount.value});
}

bool Ledger::set_credit_limit(const std::string& project_id, Amount limit) {
  base::expects(ledger_ == LedgerName::kUsdNano && limit.value >= 0, "a credit limit is of dollars, and not negative");
  const Pair pair = lock_pair(project_id, AccountKind::kPrepaid, AccountKind::kRevenue);
  return tx_.execute(
             "UPDATE account SET credit_limit = $2,"
             " owing_allowed = greatest($2::bigint, debits_posted + debits_pending - credits_posted)"
             " WHERE id = $1 AND credit_limit <> $2",
             {pair.from, limit.value})
             .affected_rows() == 1;
}

Balance Ledger::balance(const std::string& project_id) {
  const auto rows = tx_.execute(
      "SELECT credits_posted, debits_posted, debits_pending, credit_limit FROM account"
      " WHERE project_id = $1 AND ledger = $2 AND kind = 'prepaid'",
      {project_id, to_string(ledger_)});
  if (rows.empty()) return {};
  const auto row = rows.row(0);
  Balance balance;
  balance.credited = {row.integer("credits_posted")};
  balance.spent = {row.integer("debits_posted")};
  balance.held = {row.integer("debits_pending")};
  balance.credit_limit = {row.integer("credit_limit")};
  balance.available = {balance.credited.value + balance.credit_limit.value - balance.spent.value - balance.held.value};
  return balance;
}

Amount Ledger::escrowed(const std::string& project_id) {
  const auto rows = tx_.execute(
      "SELECT credits_posted - debits_posted - debits_pending AS left FROM account"
      " WHERE project_id = $1 AND ledger = $2 AND kind = 'escrow'",
      {project_id, to_string(ledger_)});
  return rows.empty() ? Amount{} : Amount{rows.row(0).integer("left")};
}

Amount Ledger::lock_available(const std::string& project_id) {
  const AccountKind to = ledger_ == LedgerName::kUsdNano ? AccountKind::kRevenue : AccountKind::kLiquidity;
  return lock_pair(project_id, AccountKind::kPrepaid, to).available;
}

std::optional<Transfer> Ledger::find(const std::string& transfer_id) {
  const auto rows = tx_.execute(kSelectTransfer + "transfer.id = $1::uuid", {transfer_id});
  if (rows.empty()) return std::nullopt;
  return read_with_accounts(rows.row(0));
}

storage::Page<Transfer> Ledger::list(const std::string& project_id, const storage::PageRequest& request) {
  if (request.after && !base::is_uuid(*request.after))
    throw base::bad_request("invalid_cursor", "No transfer '" + *request.after + "' to list after.", "after");
  return storage::read_page(tx_, request, "transfer", "id", "project_id",
                            kSelectTransfer + "transfer.project_id = $1 AND transfer.ledger = $2",
                            {project_id, to_string(ledger_)}, read_with_accounts);
}

}  // namespace finetuned::billing
