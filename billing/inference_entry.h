#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// What is hashed of a row of `inference_usage`, which stands in the chain of USD_NANO beside transfers (ledger_entry.h) and
/// usage of jobs (usage_entry.h): 256 bytes, integers big-endian in two's complement.
///
///     at  bytes
///      0    4   "FTI1"
///      4    1   1: the chain of USD_NANO
///      5    1   1 where the answer was whole
///      6    1   1 where its price was waived
///      7    1   0
///      8    8   position in the chain
///     16    8   seq
///     24   16   transfer_id, or 0
///     40    8   prompt_tokens
///     48    8   completion_tokens
///     56    8   input_price_version, or 0
///     64    8   output_price_version, or 0
///     72    8   input_amount
///     80    8   output_amount
///     88    8   created_at, microseconds since 1970-01-01 UTC
///     96   32   SHA-256 of request_id (UTF-8)
///    128   32   SHA-256 of project_id
///    160   32   SHA-256 of api_key_id
///    192   32   SHA-256 of model
///    224   32   SHA-256 of base_model, or 0
///
/// The function inference_entry(inference_usage, position) of the migrations gives the same bytes in SQL.
struct InferenceEntry {
  static constexpr std::size_t kBytes = 256;

  std::int64_t seq = 0;
  std::optional<std::string> transfer_id;
  std::int64_t prompt_tokens = 0, completion_tokens = 0;
  std::int64_t input_price_version = 0, output_price_version = 0, input_amount = 0, output_amount = 0, created_micros = 0;
  bool whole = true, waived = false;
  std::string request_id, project_id, api_key_id, model;
  std::optional<std::string> base_model;
  std::int64_t position = 0;

  std::array<char, kBytes> bytes() const;
  /// 32 bytes; `before` has 32 too.
  std::string hash(const std::string& before) const;
};

/// The columns of the table `inference_usage` that read_inference_entry reads; position is the caller's to set.
extern const char kInferenceColumns[];
InferenceEntry read_inference_entry(const postgres::Row& row);

}  // namespace finetuned::billing
