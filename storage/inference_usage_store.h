#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "storage/postgres/transaction.h"

namespace finetuned::storage {

/// What one request to a model took, and what it costs (billing/inference_charge.h).
struct InferenceUsage {
  std::string request_id;
  std::string project_id;
  std::string api_key_id;
  std::string model;  ///< as it was asked for
  std::int64_t prompt_tokens = 0;
  std::int64_t completion_tokens = 0;
  bool whole = true;  ///< false: the answer was broken off, and the tokens are a lower bound
  std::optional<std::string> base_model = {};   ///< that answered, alone or below the fine-tuned one
  std::optional<std::string> transfer_id = {};  ///< the hold that paid it
  std::optional<std::int64_t> input_price_version = {}, output_price_version = {};
  std::int64_t input_nano = 0, output_nano = 0;  ///< charged
  bool waived = false;                           ///< its price was not charged
};

/// Which rows count, and what they are summed by.
struct UsageQuery {
  std::int64_t start = 0, end = 0;   ///< Unix seconds, the end excluded
  std::int64_t bucket_seconds = 0;   ///< buckets begin at multiples of this
  std::vector<std::string> project_ids = {}, api_key_ids = {}, models = {};  ///< empty: all
  bool by_project = false, by_api_key = false, by_model = false;
  int most_sums = 0;
};

struct UsageSum {
  std::int64_t bucket = 0;  ///< its start, a multiple of bucket_seconds
  std::optional<std::string> project_id, api_key_id, model;  ///< where it is summed by them
  std::int64_t prompt_tokens = 0, completion_tokens = 0, requests = 0;
};

class InferenceUsageStore {
 public:
  explicit InferenceUsageStore(postgres::Transaction& tx) : tx_(tx) {}

  /// Once a request id: writing it again changes nothing, and returns false. The time is the database's.
  bool add(const InferenceUsage& usage);

  /// The organization's sums, bucket after bucket; at most `most_sums`. System scope.
  std::vector<UsageSum> sums(const std::string& organization_id, const UsageQuery& query);

 private:
  postgres::Transaction& tx_;
};

}  // namespace finetuned::storage
