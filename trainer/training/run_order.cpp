#include "trainer/training/run_order.h"

#include "trainer/training/archive.h"

namespace finetuned::training::archive {

// A field that is added has to be named here for this to compile.

static void put(Writer& out, const tensor::DeviceSpec& device) {
  const auto& [kind, index] = device;
  put(out, kind);
  put(out, index);
}
static void take(Reader& in, tensor::DeviceSpec& device) {
  auto& [kind, index] = device;
  take(in, kind);
  take(in, index);
}

static void put(Writer& out, const text::TokenRow& row) {
  const auto& [ids, labels] = row;
  put(out, ids);
  put(out, labels);
}
static void take(Reader& in, text::TokenRow& row) {
  auto& [ids, labels] = row;
  take(in, ids);
  take(in, labels);
}

}  // namespace finetuned::training::archive

namespace finetuned::training {

namespace {

namespace fs = std::filesystem;
using archive::Reader;
using archive::Writer;

constexpr std::uint64_t kEnd = 0x46544f5244455231;  // behind the last row

/// each(field) for every field of a RunConfig. One that is added has to be named here for this to compile.
template <class Config, class Each>
void each_field(Config& config, const Each& each) {
  auto& [base_directory, base_name, out_directory, init_adapter, full_parameter, lora_rank, lora_alpha, lora_dropout,
         use_rslora, target_modules, learning_rate, lr_scheduler, warmup_ratio, weight_decay, max_grad_norm, batch_size, epochs,
         max_steps, checkpoint_steps, checkpoint_epochs, validation_steps, shuffle, seed, max_seq_length, micro_batch_tokens,
         recompute, memory_limit_bytes, dtype, device, threads, state_file, state_steps, state_seconds, stop_after, resume_from] = config;
  const auto all = [&each](auto&... fields) { (each(fields), ...); };
  all(base_directory, base_name, out_directory, init_adapter, full_parameter, lora_rank, lora_alpha, lora_dropout, use_rslora,
      target_modules, learning_rate, lr_scheduler, warmup_ratio, weight_decay, max_grad_norm, batch_size, epochs, max_steps,
      checkpoint_steps, checkpoint_epochs, validation_steps, shuffle, seed, max_seq_length, micro_batch_tokens, recompute,
      memory_limit_bytes, dtype, device, threads, state_file, state_steps, state_seconds, stop_after, resume_from);
}

}  // namespace

void write_run_order(const fs::path& file, const RunConfig& config, const std::vector<text::TokenRow>& training_rows,
                     const std::vector<text::TokenRow>& validation_rows) {
  base::DurableFile durable(file, 0600);
  Writer out(durable);
  each_field(config, [&out](const auto& field) { put(out, field); });
  put(out, training_rows);
  put(out, validation_rows);
  put(out, kEnd);
  out.flush();
  durable.commit();
}

RunOrder read_run_order(const fs::path& file) {
  Reader in(file);
  RunOrder order;
  each_field(order.config, [&in](auto& field) { take(in, field); });
  take(in, order.training);
  take(in, order.validation);
  std::uint64_t end = 0;
  take(in, end);
  if (end != kEnd) in.refuse();
  return order;
}

}  // namespace finetuned::training
