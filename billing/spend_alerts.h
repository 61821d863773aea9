#pragma once

#include <cstddef>

#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// Tells of each spend alert whose threshold was reached in this calendar month (UTC) by what the project, or all of the
/// organization's, paid and hold (as spend limits count it): a `spend_alert.reached` in the audit log, and a webhook
/// `billing.spend_alert.reached` to each endpoint of the project (of an organization's alert, of each of its projects) that asked for it.
/// Once an alert, threshold and month, however many notice it at once. How many were told of, at most `most`. System scope; the last
/// thing in its transaction.
std::size_t tell_spend_alerts(postgres::Transaction& tx, int most);

}  // namespace finetuned::billing
