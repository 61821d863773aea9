#include "billing/inference_entry.h"

#include "billing/entry_writer.h"

namespace finetuned::billing {

// Under names of their own, as those of usage_entry.cpp.
const char kInferenceColumns[] =
    "inference_usage.seq AS inference_seq, inference_usage.transfer_id AS inference_transfer,"
    " inference_usage.prompt_tokens AS inference_input, inference_usage.completion_tokens AS inference_output,"
    " inference_usage.input_price_version AS inference_input_price, inference_usage.output_price_version AS inference_output_price,"
    " inference_usage.input_amount AS inference_input_amount, inference_usage.output_amount AS inference_output_amount,"
    " CASE WHEN isfinite(inference_usage.created_at) THEN (extract(epoch FROM inference_usage.created_at) * 1000000)::bigint ELSE 0 END"
    " AS inference_micros, inference_usage.whole AS inference_whole, inference_usage.waived AS inference_waived,"
    " inference_usage.request_id AS inference_request, inference_usage.project_id AS inference_project,"
    " inference_usage.api_key_id AS inference_key, inference_usage.model AS inference_model, inference_usage.base_model AS inference_base";

std::array<char, InferenceEntry::kBytes> InferenceEntry::bytes() const {
  std::array<char, kBytes> bytes{};
  EntryWriter write(bytes);
  write.text("FTI1");
  for (const bool flag : {true, whole, waived, false})
    write.byte(flag);
  write.integer(position);
  write.integer(seq);
  write.uuid(transfer_id);
  for (const std::int64_t number : {prompt_tokens, completion_tokens, input_price_version, output_price_version, input_amount,
                                    output_amount, created_micros})
    write.integer(number);
  for (const std::string& text : {request_id, project_id, api_key_id, model})
    write.digest(text);
  write.digest(base_model);
  write.expect_whole();
  return bytes;
}

std::string InferenceEntry::hash(const std::string& before) const { return hash_behind(before, bytes()); }

InferenceEntry read_inference_entry(const postgres::Row& row) {
  return {.seq = row.integer("inference_seq"),
          .transfer_id = row.maybe_text("inference_transfer"),
          .prompt_tokens = row.integer("inference_input"),
          .completion_tokens = row.integer("inference_output"),
          .input_price_version = row.maybe_integer("inference_input_price").value_or(0),
          .output_price_version = row.maybe_integer("inference_output_price").value_or(0),
          .input_amount = row.integer("inference_input_amount"),
          .output_amount = row.integer("inference_output_amount"),
          .created_micros = row.integer("inference_micros"),
          .whole = row.boolean("inference_whole"),
          .waived = row.boolean("inference_waived"),
          .request_id = row.text("inference_request"),
          .project_id = row.text("inference_project"),
          .api_key_id = row.text("inference_key"),
          .model = row.text("inference_model"),
          .base_model = row.maybe_text("inference_base"),
          .position = 0};
}

}  // namespace finetuned::billing
