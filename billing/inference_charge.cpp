#include "billing/inference_charge.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "base/errors.h"
#include "base/ids.h"
#include "billing/ledger.h"
#include "billing/quotas.h"

namespace finetuned::billing {

namespace {

// Beyond the longest that an answer may take: what its gateway, its worker and its commit may be late.
constexpr std::chrono::seconds kMargin{300};

// As current_price has it, for both at once.
constexpr char kTerms[] =
    "SELECT b.context, p.organization_id, p.archived_at IS NOT NULL AS archived, i.version AS input_version, i.nano_per_1k AS input_nano,"
    " o.version AS output_version, o.nano_per_1k AS output_nano FROM base_model b JOIN project p ON p.id = $1"
    " LEFT JOIN LATERAL (SELECT version, nano_per_1k FROM price WHERE (organization_id = p.organization_id OR organization_id IS NULL)"
    "  AND (base_model = b.name OR base_model IS NULL) AND method = $3 AND valid_from <= clock_timestamp()"
    "  ORDER BY organization_id IS NULL, base_model IS NULL, valid_from DESC, version DESC LIMIT 1) i ON true"
    " LEFT JOIN LATERAL (SELECT version, nano_per_1k FROM price WHERE (organization_id = p.organization_id OR organization_id IS NULL)"
    "  AND (base_model = b.name OR base_model IS NULL) AND method = $4 AND valid_from <= clock_timestamp()"
    "  ORDER BY organization_id IS NULL, base_model IS NULL, valid_from DESC, version DESC LIMIT 1) o ON true"
    " WHERE b.name = $2";

constexpr char kWatch[] =
    "INSERT INTO inference_hold (transfer_id, project_id, request_id, most_tokens, expires_at)"
    " VALUES ($1::uuid, $2, $3, $4, clock_timestamp() + $5::bigint * interval '1 second')";
// Who deletes the row ends the hold: of the gateway and the metering role one.
constexpr char kEnd[] = "DELETE FROM inference_hold WHERE transfer_id = $1::uuid";
constexpr char kExpired[] =
    "DELETE FROM inference_hold WHERE transfer_id IN (SELECT transfer_id FROM inference_hold WHERE expires_at < clock_timestamp()"
    " ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING transfer_id, request_id";

/// More than any hold where it does not fit.
std::int64_t price_or_most(std::int64_t tokens, const Price& price) {
  try {
    return base::price_of(tokens, price.nano_per_1k).value;
  } catch (const std::overflow_error&) {
    return std::numeric_limits<std::int64_t>::max();
  }
}

[[noreturn]] void refuse(const InsufficientFunds& error) {
  throw base::ApiError(429, "insufficient_quota", "insufficient_quota",
                       "This request may cost " + base::format_dollars(error.needed) + " and the project has " +
                           base::format_dollars(error.available) + " available: " + base::format_dollars(error.shortfall()) +
                           " are missing. Ask your administrator for credit, or ask for fewer tokens (max_tokens, n).");
}

}  // namespace

std::optional<InferenceTerms> inference_terms(postgres::Transaction& tx, const std::string& project_id, const std::string& base_model) {
  const auto rows = tx.execute(kTerms, {project_id, base_model, kInferenceInput, kInferenceOutput});
  if (rows.empty()) return std::nullopt;
  const auto row = rows.row(0);
  for (const char* version : {"input_version", "output_version"})
    if (row.is_null(version))
      throw base::bad_request("method_not_available", "Answers of model '" + base_model + "' have no price here.", "model");
  return InferenceTerms{.organization_id = row.text("organization_id"),
                        .base_model = base_model,
                        .input = {row.integer("input_version"), row.integer("input_nano")},
                        .output = {row.integer("output_version"), row.integer("output_nano")},
                        .context = row.integer("context"),
                        .archived = row.boolean("archived")};
}

std::optional<InferenceHold> hold_inference(postgres::Transaction& tx, const std::string& project_id, const std::string& request_id,
                                            const InferenceTerms& terms, const InferenceTokens& most, std::chrono::seconds longest) {
  const std::int64_t input = price_or_most(most.input, terms.input), output = price_or_most(most.output, terms.output);
  if (input > std::numeric_limits<std::int64_t>::max() - output)
    throw base::bad_request("too_many_tokens", "This request may cost more than an account can hold: ask for fewer tokens.", "max_tokens");
  const Amount amount{input + output};
  if (amount.value == 0) return std::nullopt;
  check_month(tx, {.organization_id = terms.organization_id,
                   .project_id = project_id,
                   .tokens = most.input + most.output,
                   .amount = amount,
                   .subject = "this request may cost"});
  InferenceHold hold{base::make_uuid(), amount};
  try {
    Ledger(tx).hold_request(hold.transfer_id, project_id, amount, request_id);
  } catch (const InsufficientFunds& error) {
    refuse(error);
  }
  tx.execute_later(kWatch, {hold.transfer_id, project_id, request_id, most.input + most.output, (longest + kMargin).count()});
  return hold;
}

InferenceCost cost_of_inference(const InferenceTerms& terms, const InferenceTokens& tokens, Amount held) {
  const std::int64_t input = std::min(price_or_most(tokens.input, terms.input), held.value);
  return {{input}, {std::min(price_or_most(tokens.output, terms.output), held.value - input)}};
}

void settle_inference(postgres::Transaction& tx, const InferenceTerms& terms, const std::optional<InferenceHold>& hold,
                      std::optional<storage::InferenceUsage> usage) {
  const bool open = hold && tx.execute(kEnd, {hold->transfer_id}).affected_rows() == 1;
  Ledger ledger(tx);
  if (!usage) {
    if (open) ledger.release(base::make_uuid(), hold->transfer_id, "nothing was answered");
    return;
  }
  const InferenceTokens tokens{usage->prompt_tokens, usage->completion_tokens};
  const InferenceCost cost = cost_of_inference(terms, tokens, open ? hold->amount : Amount{});
  const Amount charge{cost.input.value + cost.output.value};
  usage->base_model = terms.base_model;
  usage->input_price_version = terms.input.version;
  usage->output_price_version = terms.output.version;
  usage->input_nano = cost.input.value;
  usage->output_nano = cost.output.value;
  if (hold) usage->transfer_id = hold->transfer_id;
  usage->waived = !open && (hold || price_or_most(tokens.input, terms.input) > 0 || price_or_most(tokens.output, terms.output) > 0);
  const bool written = storage::InferenceUsageStore(tx).add(*usage);
  if (!open) return;
  if (written && charge.value > 0)
    ledger.post(base::make_uuid(), hold->transfer_id, charge,
                std::to_string(tokens.input) + " input and " + std::to_string(tokens.output) + " output tokens of " + usage->model +
                    " for " + usage->request_id);
  else
    ledger.release(base::make_uuid(), hold->transfer_id, "nothing to bill for " + usage->request_id);
}

std::size_t expire_inference_holds(postgres::Transaction& tx, int most) {
  const auto expired = tx.execute(kExpired, {most});
  Ledger ledger(tx);
  for (std::size_t i = 0; i < expired.size(); ++i)
    ledger.expire(base::make_uuid(), expired.row(i).text("transfer_id"), expired.row(i).text("request_id") + " was not settled in time");
  return expired.size();
}

}  // namespace finetuned::billing
