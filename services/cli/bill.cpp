#include "services/cli/bill.h"

#include <algorithm>

#include "base/money.h"
#include "services/cli/options.h"
#include "services/cli/render.h"

namespace finetuned::cli {

namespace json = base::json;

namespace {

constexpr int kTransfersAPage = 100;
constexpr int kMostPages = 1000;

std::string amount(std::int64_t nano) {
  return base::format_dollars({nano}) + "  (" + format_count(nano) + " nano-dollars)";
}

/// Of a correction: whether it gives back. One that corrects another takes that back.
bool gives_back(const json::value& correction, const json::array& transfers) {
  bool gives = true;
  std::string corrected = text_of(correction, "corrects_id");
  for (std::size_t hops = 0; hops < transfers.size() && !corrected.empty(); ++hops) {
    const auto found = std::find_if(transfers.begin(), transfers.end(), [&](const json::value& one) { return text_of(one, "id") == corrected; });
    if (found == transfers.end() || text_of(*found, "kind") != "correction") break;
    gives = !gives;
    corrected = text_of(*found, "corrects_id");
  }
  return gives;
}

}  // namespace

json::array transfers_of(ApiClient& api, const std::string& job_id) {
  json::array found;
  std::string after;
  bool held = false;
  for (int page = 0; page < kMostPages; ++page) {
    const json::value list = api.get(page_of("/billing/transfers", kTransfersAPage, after));
    for (const json::value& transfer : list.at("data").as_array()) {
      after = text_of(transfer, "id");
      if (text_of(transfer, "job_id") != job_id) {
        if (held) return found;  // a job's holds are its first, and stand together
        continue;
      }
      found.push_back(transfer);
      held |= text_of(transfer, "kind") == "pending";
    }
    const json::value* more = list.as_object().if_contains("has_more");
    if (!more || !more->is_bool() || !more->get_bool()) break;
  }
  return found;
}

std::string render_bill(const json::value& job, const json::array& transfers) {
  std::int64_t held = 0, charged = 0, given_back = 0;
  bool open = true;
  for (const json::value& transfer : transfers) {
    const std::string kind = text_of(transfer, "kind");
    if (kind == "pending") held += nano_of(transfer, "amount");
    if (kind == "post") charged += nano_of(transfer, "amount");
    if (kind == "correction") given_back += gives_back(transfer, transfers) ? nano_of(transfer, "amount") : -nano_of(transfer, "amount");
    if (kind == "post" || kind == "void" || kind == "expire") open = false;
  }
  std::vector<std::vector<std::string>> rows{{"job", cell(job, "id") + "  " + cell(job, "status")}};
  if (integer_of(job, "trained_tokens", -1) >= 0)
    rows.push_back({"trained tokens", format_count(integer_of(job, "trained_tokens"))});
  const std::string payment = text_of(job, "payment");
  if (!payment.empty() && payment != "usd") rows.push_back({"paid by", payment + ", in dollars' worth:"});
  if (!transfers.empty()) rows.push_back({"held", amount(held)});
  if (!transfers.empty() && !open) {
    rows.push_back({"charged", amount(charged)});
    rows.push_back({"returned", amount(held - charged)});
    if (given_back > 0) rows.push_back({"given back", amount(given_back)});
  }
  return render_table(rows);
}

}  // namespace finetuned::cli
