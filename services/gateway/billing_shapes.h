#pragma once

#include <string>

#include "base/json.h"
#include "billing/ledger.h"
#include "services/gateway/http.h"

namespace finetuned::gateway {

/// The query's `ledger`: `USD_NANO` (not given) or `POINTS_MICRO`. Throws ApiError 400.
billing::LedgerName ledger_in(const Request& request);

/// Amounts travel as strings of the ledger's unit, nano-dollars or micro-points: a JavaScript number ends at 9 million dollars.
base::json::object balance_shape(billing::LedgerName ledger, const billing::Balance& balance);
/// The same of points, with `pending`: what is earned and not vested.
base::json::object points_shape(const billing::Balance& balance, billing::Amount pending);
base::json::object transfer_shape(const billing::Transfer& transfer);

}  // namespace finetuned::gateway
