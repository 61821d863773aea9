#include <charconv>
#include <limits>

#include "base/errors.h"
#include "base/ids.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/uuid.h"
#include "billing/credit_limits.h"
#include "billing/ledger.h"
#include "services/gateway/admin.h"
#include "services/gateway/billing_shapes.h"
#include "services/gateway/idempotency.h"
#include "services/gateway/job_request.h"
#include "services/gateway/paging.h"
#include "services/gateway/routes/routes.h"
#include "services/gateway/shapes.h"
#include "storage/postgres/errors.h"
#include "storage/postgres/pool.h"

namespace finetuned::gateway {

namespace json = base::json;
using billing::LedgerName;
using postgres::Scope;
using postgres::Transaction;

namespace {

/// Of a sum beyond bigint, alone or with the credit limit (account_reach).
bool is_beyond_an_account(const postgres::SqlError& error) { return error.sqlstate == "22003" || error.sqlstate == "23514"; }
constexpr int kDefaultTransfers = 20, kMostTransfers = 100;
constexpr std::size_t kMostReason = 256;

/// Amounts travel as strings of nano-dollars: a JavaScript number ends at 9 million dollars.
json::value nano(base::NanoDollars amount) { return json::value(std::to_string(amount.value)); }

Response balances(const Platform& platform, const Request& request) {
  const std::string& project = request.principal.project_id;
  json::array data;
  platform.database.transact(Scope::project(project), [&](Transaction& tx) {
    billing::Ledger points(tx, LedgerName::kPointsMicro);
    data = {balance_shape(LedgerName::kUsdNano, billing::Ledger(tx).balance(project)),
            points_shape(points.balance(project), points.escrowed(project))};
  });
  json::object list;
  list["object"] = "list";
  list["data"] = std::move(data);
  return json_response(list);
}

Response transfers(const Platform& platform, const Request& request) {
  const auto page = page_request(request, kDefaultTransfers, kMostTransfers);
  const LedgerName ledger = ledger_in(request);
  const std::string& project = request.principal.project_id;
  const auto listed = platform.database.transact(Scope::project(project), [&](Transaction& tx) {
    return billing::Ledger(tx, ledger).list(project, page);
  });
  return json_response(cursor_list(listed, transfer_shape));
}

base::NanoDollars read_amount(const json::object& body, std::int64_t least, std::int64_t most) {
  const json::value* amount = body.if_contains("amount");
  if (!amount) throw base::bad_request("missing_required_parameter", "Missing required parameter: amount.", "amount");
  base::NanoDollars parsed;
  const std::string text = amount->is_string() ? std::string(amount->get_string()) : "";
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed.value);
  if (error != std::errc() || end != text.data() + text.size() || parsed.value < least || parsed.value > most)
    throw base::bad_request("invalid_value", "amount must be a number of nano-dollars from " + std::to_string(least) + " to " +
                                                 std::to_string(most) + ", as a string.", "amount");
  return parsed;
}

std::string read_reason(const json::object& body) {
  const json::value* reason = body.if_contains("reason");
  if (!reason || !reason->is_string() || reason->get_string().empty() || reason->get_string().size() > kMostReason)
    throw base::bad_request("invalid_value", "reason must be a string of 1 to 256 bytes.", "reason");
  return std::string(reason->get_string());
}

/// What the ledger calls a transfer that an organization's clients call `given`. The ledger's ids are unique among all: were
/// a client's own taken, one organization could find out another's, and use them up.
std::string transfer_id_of(const std::string& organization, const std::string& given) {
  std::string id = base::sha256_hex("credit " + organization + " " + given).substr(0, 32);
  id[12] = '8';                    // a UUID of version 8: made as its maker likes
  id[16] = "89ab"[id[16] % 4];
  for (const std::size_t at : {8, 13, 18, 23}) id.insert(at, 1, '-');
  return id;
}

/// Body: {"amount":"5000000000","reason":"..."} and, so that a repetition credits once, an optional "transfer_id" (UUID).
Response credit(const Platform& platform, const Request& request) {
  const json::object body = parse_body(request.body);
  const base::NanoDollars amount = read_amount(body, 1, std::numeric_limits<std::int64_t>::max());
  const std::string reason = read_reason(body);
  std::string id = base::make_uuid(), given;
  if (const json::value* named = body.if_contains("transfer_id"); named && !named->is_null()) {
    given = named->is_string() ? std::string(named->get_string()) : "";
    if (!base::is_uuid(given))
      throw base::bad_request("invalid_value", "transfer_id must be a UUID in lower case.", "transfer_id");
    id = transfer_id_of(request.principal.organization_id, given);
  }
  const std::string& project_id = request.params.at(0);
  const auto make = [&](Transaction& tx) {
    own_project(tx, request);
    billing::Ledger ledger(tx);
    bool is_new = false;
    try {
      is_new = ledger.credit(id, project_id, amount, reason);
    } catch (const billing::TransferConflict&) {
      throw base::ApiError(409, "invalid_request_error", "transfer_conflict",
                           "The transfer_id " + given + " was used for another project or amount. Give each credit one of its own.",
                           "transfer_id");
    } catch (const postgres::SqlError& error) {
      if (!is_beyond_an_account(error)) throw;
      throw base::bad_request("invalid_value", "amount would take the balance beyond what an account can hold.", "amount");
    }
    const auto transfer = ledger.find(id);
    json::object shape;
    shape["object"] = "billing.credit";
    shape["project_id"] = project_id;
    shape["transfer"] = transfer ? json::value(transfer_shape(*transfer)) : json::value(nullptr);
    shape["balance"] = balance_shape(LedgerName::kUsdNano, ledger.balance(project_id));
    if (is_new)
      audit(tx, request, "credit.created", {{"id", id}, {"data", {{"amount", nano(amount)}, {"reason", reason}}}}, project_id);
    return shape;
  };
  const json::object answer = platform.database.transact(Scope::system(), [&](Transaction& tx) {
    return answer_once(tx, platform, request, [&] { return make(tx); });
  });
  base::log_info("credit was added", {{"project", project_id}, {"nano", amount.value}, {"key", request.principal.key_id}});
  return json_response(answer);
}

json::object credit_limit_shape(const storage::Project& project, const billing::Balance& balance) {
  json::object shape;
  shape["object"] = "organization.project.credit_limit";
  shape["project_id"] = project.id;
  shape["amount"] = nano(balance.credit_limit);
  shape["balance"] = balance_shape(LedgerName::kUsdNano, balance);
  return shape;
}

json::object get_credit_limit(Transaction& tx, const Request& request) {
  const storage::Project project = own_project(tx, request);
  return credit_limit_shape(project, billing::Ledger(tx).balance(project.id));
}

/// Body: {"amount":"5000000000"}; "0" is prepaid.
json::object put_credit_limit(Transaction& tx, const Request& request) {
  const base::NanoDollars limit = read_amount(parse_body(request.body), 0, billing::kMostCredit.value);
  const storage::Project project = open_project(tx, request);
  try {
    return credit_limit_shape(project, billing::set_credit_limit(tx, project, limit, request.principal.key_id));
  } catch (const postgres::SqlError& error) {
    if (!is_beyond_an_account(error)) throw;
    throw base::bad_request("invalid_value", "amount and the project's credits are more than an account can hold.", "amount");
  }
}

}  // namespace

void add_billing_routes(Router& router, const Platform& platform) {
  router.add("GET", "/v1/billing/balances", Access::kProject,
             [&platform](const Request& request) { return balances(platform, request); });
  router.add("GET", "/v1/billing/transfers", Access::kProject,
             [&platform](const Request& request) { return transfers(platform, request); });
  router.add("POST", "/v1/organization/projects/{project_id}/credits", Access::kAdmin,
             [&platform](const Request& request) { return credit(platform, request); });
  add_admin_route(router, platform, "GET", "/v1/organization/projects/{project_id}/credit_limit", get_credit_limit);
  add_admin_route(router, platform, "PUT", "/v1/organization/projects/{project_id}/credit_limit", put_credit_limit);
}

}  // namespace finetuned::gateway
