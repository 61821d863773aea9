#include "trainer/training/run_state.h"

#include "base/sha256.h"
#include "trainer/training/archive.h"

namespace finetuned::training::archive {

template <class Step, class Each>
static void each_field(Step& step, const Each& each) {
  auto& [number, total_steps, epoch, train_loss, train_mean_token_accuracy, valid_loss, valid_mean_token_accuracy, full_valid_loss,
         full_valid_mean_token_accuracy, learning_rate, grad_norm, tokens, supervised_tokens, trained_tokens, seconds,
         tokens_per_second, gemm_share, memory_bytes] = step;
  const auto all = [&each](auto&... fields) { (each(fields), ...); };
  all(number, total_steps, epoch, train_loss, train_mean_token_accuracy, valid_loss, valid_mean_token_accuracy, full_valid_loss,
      full_valid_mean_token_accuracy, learning_rate, grad_norm, tokens, supervised_tokens, trained_tokens, seconds,
      tokens_per_second, gemm_share, memory_bytes);
}

static void put(Writer& out, const StepMetrics& step) {
  each_field(step, [&out](const auto& field) { put(out, field); });
}
static void take(Reader& in, StepMetrics& step) {
  each_field(step, [&in](auto& field) { take(in, field); });
}

}  // namespace finetuned::training::archive

namespace finetuned::training {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kVersion = 0x46545354'00000001;  // of what follows; to be counted up with every change
constexpr std::uint64_t kEnd = 0x454e4453;

template <class State, class Each>
void each_part(State& state, const Each& each) {
  each(state.origin.settings);
  each(state.origin.training_rows);
  each(state.origin.validation_rows);
  each(state.origin.base);
  each(state.micro_batch_tokens);
  each(state.recompute);
  each(state.steps);
  each(state.validated);
  each(state.sample_at);
  each(state.values);
  each(state.first);
  each(state.second);
}

}  // namespace

void write_run_state(const fs::path& file, const RunState& state) {
  base::DurableFile durable(file, 0600);
  archive::Writer out(durable);
  put(out, kVersion);
  each_part(state, [&out](const auto& part) { put(out, part); });
  put(out, kEnd);
  out.flush();
  durable.commit();
}

RunState read_run_state(const fs::path& file) {
  archive::Reader in(file);
  RunState state;
  std::uint64_t version = 0, end = 0;
  try {
    take(in, version);
    if (version != kVersion) throw StateRefused(file.string() + " is a run's state of another version; begin the run anew");
    each_part(state, [&in](auto& part) { take(in, part); });
    take(in, end);
  } catch (const base::FormatError& error) {
    throw StateRefused(error.what());
  }
  if (end != kEnd || state.steps.empty() || state.first.size() != state.values.size() || state.second.size() != state.values.size())
    throw StateRefused(file.string() + " is a damaged state of a run; begin the run anew");
  return state;
}

void check_origin(const RunState::Origin& saved, const RunState::Origin& present) {
  std::string other;
  const auto compare = [&](const char* name, const std::string& one, const std::string& now) {
    if (one != now) other += (other.empty() ? "" : ", ") + std::string(name);
  };
  compare("the settings", saved.settings, present.settings);
  compare("the training rows", saved.training_rows, present.training_rows);
  compare("the validation rows", saved.validation_rows, present.validation_rows);
  compare("the base", saved.base, present.base);
  if (!other.empty()) throw StateRefused("the run cannot go on from its state: " + other + " changed since; begin it anew");
}

}  // namespace finetuned::training
