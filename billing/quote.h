#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "base/money.h"
#include "billing/prices.h"
#include "storage/job.h"
#include "storage/model_store.h"

namespace finetuned::billing {

struct QuoteRequest {
  std::string organization_id;  ///< whose prices hold
  std::string training_file;
  std::optional<std::string> validation_file;  ///< must be counted too; not billed
  storage::BaseModel base;
  std::string method = "supervised";
  std::int64_t epochs = 1;
  std::optional<std::int64_t> max_seq_length;  ///< explicit: longer rows are cut there (at most the context)
};

struct Quote {
  std::int64_t rows = 0;
  std::int64_t tokens_per_epoch = 0;
  std::int64_t tokens = 0;  ///< epochs x sum over rows of min(cut, row tokens)
  Price price;
  base::NanoDollars amount;
};

/// Sum over rows of min(cut, tokens).
std::int64_t tokens_under_cut(std::span<const std::uint32_t> row_tokens, std::int64_t cut);

/// Exact, from intake's counts. Empty while a file is not yet counted by the base's tokenizer (the job waits in
/// `validating_files`). Throws ApiError 400: `invalid_training_file` / `invalid_validation_file` (missing, refused by
/// intake or by the tokenizer's template), `row_exceeds_context` (a row beyond the context without an explicit
/// max_seq_length; names line, tokens, limit, remedy), `too_many_tokens`.
std::optional<Quote> make_quote(postgres::Transaction& tx, const QuoteRequest& request);

/// The request a stored job stands for: n_epochs and max_seq_length from its method's (or top) hyperparameters.
QuoteRequest quote_request_of(postgres::Transaction& tx, const storage::NewJob& job);

}  // namespace finetuned::billing
