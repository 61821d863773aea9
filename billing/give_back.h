#pragma once

#include <string>

#include "billing/points_payment.h"
#include "billing/transfer.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// Gives an ended job back what it was charged beyond `due` nano-dollars, by corrections of its posts, and returns what those
/// moved. What earlier corrections gave back counts, what corrections of those took back does not; less than `due` is left as it is.
/// Dollars go back before points: these paid first (points_payment.h). The job's row is locked. System scope, or its project's.
PaymentSplit give_back(postgres::Transaction& tx, const std::string& job_id, Amount due, const std::string& reason);

/// What of the job's charges corrections have given back by now, in nano-dollars: dollars, and what points stood for.
Amount given_back(postgres::Transaction& tx, const std::string& job_id);

}  // namespace finetuned::billing
