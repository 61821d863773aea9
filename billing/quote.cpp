#include "billing/quote.h"

#include <algorithm>
#include <boost/json/value_to.hpp>
#include <stdexcept>

#include "base/errors.h"
#include "base/expects.h"
#include "storage/intake_store.h"

namespace finetuned::billing {

namespace {

constexpr std::int64_t kMostBilledTokens = std::int64_t{1} << 53;

struct FileRole {
  const char* param;  ///< the request's field
  const char* code;
};
constexpr FileRole kTraining{"training_file", "invalid_training_file"};
constexpr FileRole kValidation{"validation_file", "invalid_validation_file"};

[[noreturn]] void refuse(const FileRole& role, const std::string& message) {
  throw base::bad_request(role.code, message, role.param);
}

/// The counts of a file that may be trained on. Empty while intake has not counted it yet.
std::optional<storage::TokenCounts> usable_counts(postgres::Transaction& tx, const std::string& file_id,
                                                  const storage::BaseModel& base, const FileRole& role,
                                                  std::optional<std::int64_t> cut) {
  const auto file = storage::FileStore(tx).find_even_expired(file_id);
  if (!file) refuse(role, "File '" + file_id + "' does not exist.");
  if (file->purpose != "fine-tune")
    refuse(role, "File '" + file_id + "' has purpose '" + file->purpose + "'. Upload it with purpose 'fine-tune'.");
  if (file->status == storage::FileStatus::kUploaded) return std::nullopt;
  if (file->status == storage::FileStatus::kError)
    refuse(role, "File '" + file_id + "' did not pass its check: " +
                     file->status_details.value_or("see its report") + " (GET /v1/files/" + file_id + "/report)");
  storage::IntakeStore intake(tx);
  auto counts = intake.counts(file_id, base.tokenizer_fingerprint, false);
  if (!counts) return std::nullopt;
  if (counts->error_code)
    refuse(role, "File '" + file_id + "' cannot be used with model '" + base.name + "': " +
                     counts->error_message.value_or(*counts->error_code));
  if (!cut && counts->longest_tokens > base.context)
    throw base::bad_request("row_exceeds_context",
                            "Line " + std::to_string(counts->longest_line) + " of file '" + file_id + "' has " +
                                std::to_string(counts->longest_tokens) + " tokens; model '" + base.name +
                                "' takes at most " + std::to_string(base.context) +
                                ". Shorten the row, or set max_seq_length to cut long rows.",
                            role.param);
  const std::int64_t limit = std::min(cut.value_or(base.context), base.context);
  if (counts->longest_tokens > limit) counts = intake.counts(file_id, base.tokenizer_fingerprint, true);
  return counts;
}

const boost::json::object* object_at(const boost::json::value& json, std::string_view key) {
  const auto* object = json.if_object();
  const auto* member = object ? object->if_contains(key) : nullptr;
  return member ? member->if_object() : nullptr;
}

std::optional<std::int64_t> integer_at(const boost::json::object* object, std::string_view key) {
  const auto* member = object ? object->if_contains(key) : nullptr;
  if (!member || !member->is_int64()) return std::nullopt;
  return member->get_int64();
}

}  // namespace

std::int64_t tokens_under_cut(std::span<const std::uint32_t> row_tokens, std::int64_t cut) {
  base::expects(cut > 0, "rows are cut to at least one token");
  std::int64_t sum = 0;
  for (const std::uint32_t tokens : row_tokens) sum += std::min<std::int64_t>(tokens, cut);
  return sum;
}

std::optional<Quote> make_quote(postgres::Transaction& tx, const QuoteRequest& request) {
  base::expects(request.epochs > 0, "at least one epoch is quoted");
  const auto training = usable_counts(tx, request.training_file, request.base, kTraining, request.max_seq_length);
  std::optional<storage::TokenCounts> validation;
  if (request.validation_file)
    validation = usable_counts(tx, *request.validation_file, request.base, kValidation, request.max_seq_length);
  if (!training || (request.validation_file && !validation)) return std::nullopt;

  Quote quote;
  quote.price = current_price(tx, request.organization_id, request.base.name, request.method);
  quote.rows = training->rows;
  const std::int64_t cut = std::min(request.max_seq_length.value_or(request.base.context), request.base.context);
  quote.tokens_per_epoch =
      training->row_tokens.empty() ? training->tokens : tokens_under_cut(training->row_tokens, cut);
  if (quote.tokens_per_epoch > kMostBilledTokens / request.epochs)
    throw base::bad_request("too_many_tokens", "This job would train more tokens than one job may.", "training_file");
  quote.tokens = quote.tokens_per_epoch * request.epochs;
  try {
    quote.amount = base::price_of(quote.tokens, quote.price.nano_per_1k);
  } catch (const std::overflow_error&) {
    throw base::bad_request("too_many_tokens", "This job would cost more than an account can hold.", "training_file");
  }
  return quote;
}

QuoteRequest quote_request_of(postgres::Transaction& tx, const storage::NewJob& job) {
  const auto base = storage::ModelStore(tx).find_base(job.base_model);
  base::expects(base.has_value(), "a job's base model stays registered");
  QuoteRequest request;
  request.organization_id = job.organization_id;
  request.training_file = job.training_file;
  request.validation_file = job.validation_file;
  request.base = *base;
  const auto* method = job.method.if_object();
  if (const auto* type = method ? method->if_contains("type") : nullptr)
    request.method = boost::json::value_to<std::string>(*type);
  const auto* settings = object_at(job.method, request.method);
  const auto* named = settings ? settings->if_contains("hyperparameters") : nullptr;
  const boost::json::object* own = named ? named->if_object() : nullptr;
  const boost::json::object* top = job.hyperparameters.if_object();
  request.epochs = integer_at(own, "n_epochs").value_or(integer_at(top, "n_epochs").value_or(1));
  request.max_seq_length = integer_at(own, "max_seq_length");
  if (!request.max_seq_length) request.max_seq_length = integer_at(top, "max_seq_length");
  return request;
}

}  // namespace finetuned::billing
