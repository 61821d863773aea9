#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "billing/prices.h"
#include "billing/transfer.h"
#include "storage/inference_usage_store.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// What answers of a base model cost in a project's organization, and what the model takes.
struct InferenceTerms {
  std::string organization_id, base_model;
  Price input, output;       ///< of the prompts' tokens, and of those that are computed
  std::int64_t context = 0;  ///< tokens
  bool archived = false;     ///< the project, which asks for nothing any more

  bool free() const { return input.nano_per_1k == 0 && output.nano_per_1k == 0; }
};

/// Of now, by one statement; empty where there is no such base model. The project's scope. Throws ApiError 400
/// `method_not_available` where there is no price.
std::optional<InferenceTerms> inference_terms(postgres::Transaction& tx, const std::string& project_id, const std::string& base_model);

struct InferenceTokens {
  std::int64_t input = 0;   ///< each prompt counted once
  std::int64_t output = 0;  ///< of all choices
};

/// What is set aside while a request is answered.
struct InferenceHold {
  std::string transfer_id;
  Amount amount;
};

/// Holds what a request may cost at most. Nothing where that is nothing. After `longest` the hold expires, whoever forgot it
/// (expire_inference_holds): by then its answer has ended. The project's scope; the last thing before the answer begins. Throws ApiError 429
/// `insufficient_quota` with the shortfall, check_month's (quotas.h), and 400 `too_many_tokens`: nothing is written then.
std::optional<InferenceHold> hold_inference(postgres::Transaction& tx, const std::string& project_id, const std::string& request_id,
                                            const InferenceTerms& terms, const InferenceTokens& most, std::chrono::seconds longest);

struct InferenceCost {
  Amount input, output;
};
/// f(tokens) of each at its price, together at most `held`: the input first.
InferenceCost cost_of_inference(const InferenceTerms& terms, const InferenceTokens& tokens, Amount held);

/// Ends a request's money in one commit: writes `usage` down with what it costs, and a post of that ends the hold; a void where it is
/// nothing, or where no model took the request up (`usage` empty, nothing is written). Calling it again, as after a commit of which
/// nothing was heard, changes nothing. Where the hold has expired meanwhile, the usage is written all the same, and its price waived. The
/// project's scope.
void settle_inference(postgres::Transaction& tx, const InferenceTerms& terms, const std::optional<InferenceHold>& hold,
                      std::optional<storage::InferenceUsage> usage);

/// Gives back what requests still hold that cannot be answered any more, as their gateway died (metering role, system scope). Returns how many.
std::size_t expire_inference_holds(postgres::Transaction& tx, int most);

}  // namespace finetuned::billing
