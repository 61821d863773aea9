#include "services/gateway/billing_shapes.h"

#include "base/errors.h"
#include "services/gateway/shapes.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

json::value digits(billing::Amount amount) { return json::value(std::to_string(amount.value)); }

}  // namespace

billing::LedgerName ledger_in(const Request& request) {
  const auto name = request.query_value("ledger");
  if (!name || name->empty()) return billing::LedgerName::kUsdNano;
  for (const auto ledger : {billing::LedgerName::kUsdNano, billing::LedgerName::kPointsMicro})
    if (*name == billing::to_string(ledger)) return ledger;
  throw base::bad_request("invalid_value", "ledger must be USD_NANO or POINTS_MICRO.", "ledger");
}

json::object balance_shape(billing::LedgerName ledger, const billing::Balance& balance) {
  json::object shape;
  shape["object"] = "billing.balance";
  shape["ledger"] = billing::to_string(ledger);
  shape["available"] = digits(balance.available);
  shape["held"] = digits(balance.held);
  shape["spent"] = digits(balance.spent);
  shape["credited"] = digits(balance.credited);
  if (ledger == billing::LedgerName::kUsdNano) shape["credit_limit"] = digits(balance.credit_limit);
  return shape;
}

json::object points_shape(const billing::Balance& balance, billing::Amount pending) {
  json::object shape = balance_shape(billing::LedgerName::kPointsMicro, balance);
  shape["pending"] = digits(pending);
  return shape;
}

json::object transfer_shape(const billing::Transfer& transfer) {
  json::object shape;
  shape["object"] = "billing.transfer";
  shape["id"] = transfer.id;
  shape["ledger"] = billing::to_string(transfer.ledger);
  shape["kind"] = to_string(transfer.kind);
  shape["debit_account"] = transfer.debit_account;
  shape["credit_account"] = transfer.credit_account;
  shape["amount"] = digits(transfer.amount);
  shape["pending_id"] = or_null(transfer.pending_id);
  shape["corrects_id"] = or_null(transfer.corrects_id);
  shape["job_id"] = or_null(transfer.job_id);
  shape["price_version"] = or_null(transfer.price_version);
  shape["reason"] = transfer.reason;
  shape["created_at"] = transfer.created_at();
  return shape;
}

}  // namespace finetuned::gateway
