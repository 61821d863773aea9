#pragma once

#include <boost/json/array.hpp>
#include <string>

#include "base/json.h"
#include "services/cli/api_client.h"

namespace finetuned::cli {

/// The ledger's transfers of one job, newest first.
base::json::array transfers_of(ApiClient& api, const std::string& job_id);

/// What was held, charged and returned, in dollars and nano-dollars, beside the tokens it paid for.
std::string render_bill(const base::json::value& job, const base::json::array& transfers);

}  // namespace finetuned::cli
