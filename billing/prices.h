#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "storage/page.h"
#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// What 1,000 tokens cost, in nano-dollars. A version never changes; a job keeps the one it was quoted at.
struct Price {
  std::int64_t version = 0;
  std::int64_t nano_per_1k = 0;
};

/// What is priced: training by a method, or the tokens that chats and completions take in and give out.
inline constexpr const char* kSupervised = "supervised";
inline constexpr const char* kInferenceInput = "inference_input";
inline constexpr const char* kInferenceOutput = "inference_output";

/// Of a base model, or without one of each that has none of its own; for one organization, or without one for all. A fine-tuned
/// model has its base's prices.
struct PriceOf {
  std::optional<std::string> organization_id;
  std::optional<std::string> base_model;
  std::string method = kSupervised;
};

struct NewPrice {
  PriceOf of;
  std::int64_t nano_per_1k = 0;
  std::optional<std::int64_t> valid_from;  ///< Unix time; none: now
};

struct PriceVersion {
  std::string id;  ///< `price-VERSION`
  Price price;
  PriceOf of;
  std::int64_t valid_from = 0;
  std::optional<std::int64_t> valid_until;  ///< when the next version of the same follows
};

/// The last second that a price may begin at: of 2099.
inline constexpr std::int64_t kLastBeginning = 4'102'444'799;
/// A million dollars.
inline constexpr std::int64_t kMostNanoPer1k = 1'000'000'000'000'000;

/// The price now valid in an organization for a base model and method: the organization's own before the
/// platform's, and of these the model's own before the one for all. Any scope that sees the organization's prices. Throws
/// ApiError 400 `method_not_available` where there is none.
Price current_price(postgres::Transaction& tx, const std::string& organization_id, const std::string& base_model,
                    const std::string& method);
Price price_at_version(postgres::Transaction& tx, std::int64_t version);

/// A new version, from then on. System scope. Throws ApiError 400 `invalid_value`: `nano_per_1k` outside of 0 to kMostNanoPer1k, a
/// method or model that is not there, a beginning that is past, beyond kLastBeginning, or not behind that of every version of the same: what was valid
/// stays what it was.
PriceVersion add_price(postgres::Transaction& tx, const NewPrice& price);

/// An organization's and the platform's versions; without one those of everybody. System scope.
storage::Page<PriceVersion> list_prices(postgres::Transaction& tx, const std::optional<std::string>& organization_id,
                                        const storage::PageRequest& request);

}  // namespace finetuned::billing
