#include "billing/usage_entry.h"

#include <charconv>
#include <stdexcept>

#include "billing/entry_writer.h"

namespace finetuned::billing {

// Under names of their own: a transfer's columns may stand beside them.
const char kUsageColumns[] =
    "usage.seq AS usage_seq, usage.transfer_id AS usage_transfer, lower(usage.steps) AS usage_first, upper(usage.steps) AS usage_end,"
    " usage.tokens_cum AS usage_tokens, usage.amount AS usage_amount, usage.lease_epoch AS usage_epoch,"
    " CASE WHEN isfinite(usage.created_at) THEN (extract(epoch FROM usage.created_at) * 1000000)::bigint ELSE 0 END AS usage_micros,"
    " usage.project_id AS usage_project, usage.job_id AS usage_job, usage.metric AS usage_metric,"
    " array_to_string(usage.step_tokens, ',', 'NULL') AS usage_steps";

namespace {

std::vector<std::int64_t> read_tokens(const std::string& list) {
  std::vector<std::int64_t> tokens;
  const char* at = list.data();
  const char* const end = at + list.size();
  while (at < end) {
    std::int64_t number = 0;
    const auto read = std::from_chars(at, end, number);
    if (read.ec != std::errc() || (read.ptr < end && *read.ptr != ','))
      throw std::invalid_argument("its list of tokens is not one of numbers");
    tokens.push_back(number);
    at = read.ptr + 1;
  }
  return tokens;
}

std::string big_endian(const std::vector<std::int64_t>& numbers) {
  std::string bytes;
  bytes.reserve(numbers.size() * 8);
  for (const std::int64_t number : numbers)
    for (int shift = 56; shift >= 0; shift -= 8)
      bytes += static_cast<char>(static_cast<std::uint64_t>(number) >> shift & 0xff);
  return bytes;
}

}  // namespace

std::array<char, UsageEntry::kBytes> UsageEntry::bytes() const {
  std::array<char, kBytes> bytes{};
  EntryWriter write(bytes);
  write.text("FTU1");
  write.byte(1);
  write.skip(3);  // zeros, so that numbers lie on 8 bytes
  write.integer(position);
  write.integer(seq);
  write.uuid(transfer_id);
  for (const std::int64_t number : {first_step, end_step, tokens_cum, amount, lease_epoch, created_micros})
    write.integer(number);
  for (const std::string& text : {project_id, job_id, metric})
    write.digest(text);
  write.digest(step_tokens ? std::optional(big_endian(*step_tokens)) : std::nullopt);
  write.expect_whole();
  return bytes;
}

std::string UsageEntry::hash(const std::string& before) const { return hash_behind(before, bytes()); }

UsageEntry read_usage_entry(const postgres::Row& row) {
  UsageEntry entry;
  const auto first = row.maybe_integer("usage_first"), end = row.maybe_integer("usage_end");
  if (!first || !end) throw std::invalid_argument("its range of steps has no end");
  entry.seq = row.integer("usage_seq");
  entry.transfer_id = row.maybe_text("usage_transfer");
  entry.first_step = *first;
  entry.end_step = *end;
  entry.tokens_cum = row.integer("usage_tokens");
  entry.amount = row.integer("usage_amount");
  entry.lease_epoch = row.integer("usage_epoch");
  entry.created_micros = row.integer("usage_micros");
  entry.project_id = row.text("usage_project");
  entry.job_id = row.text("usage_job");
  entry.metric = row.text("usage_metric");
  if (const auto tokens = row.maybe_text("usage_steps")) entry.step_tokens = read_tokens(*tokens);
  return entry;
}

}  // namespace finetuned::billing
