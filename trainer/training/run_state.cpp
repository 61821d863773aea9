#include "trainer/training/run_state.h"

#include <algorithm>
#include <fstream>

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

constexpr std::uint64_t kVersion = 0x46545354'00000002;  // of what follows; to be counted up with every change
constexpr std::size_t kDigest = 64;                      // hex digits of a SHA-256 behind the rest

template <class State, class Each>
void each_part(State& state, const Each& each) {
  each(state.origin.engine);
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

/// Whether the file ends with the digest of what is before, hence is whole and unchanged.
bool is_whole(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  base::Sha256 hash;
  std::vector<char> piece(archive::kBuffer);
  const std::uintmax_t size = fs::file_size(file);
  if (size < kDigest) return false;
  for (std::uintmax_t left = size - kDigest; left > 0;) {
    const auto count = static_cast<std::size_t>(std::min<std::uintmax_t>(left, piece.size()));
    if (!in.read(piece.data(), static_cast<std::streamsize>(count))) return false;
    hash.update(piece.data(), count);
    left -= count;
  }
  std::string digest(kDigest, ' ');
  return in.read(digest.data(), kDigest) && digest == hash.hex();
}

}  // namespace

void write_run_state(const fs::path& file, const RunState& state) {
  base::DurableFile durable(file, 0600);
  archive::Writer out(durable);
  put(out, kVersion);
  each_part(state, [&out](const auto& part) { put(out, part); });
  out.end_with_digest();
  durable.commit();
}

RunState read_run_state(const fs::path& file) {
  if (!fs::exists(file)) throw StateRefused("the run cannot go on from its state, which is missing");
  archive::Reader in(file);
  RunState state;
  std::uint64_t version = 0;
  try {
    take(in, version);
    if (version != kVersion) throw StateRefused("the run cannot go on from its state, which is of another version of this program");
    if (!is_whole(file)) throw StateRefused("the run cannot go on from its state, which is damaged");
    each_part(state, [&in](auto& part) { take(in, part); });
  } catch (const base::FormatError&) {
    throw StateRefused("the run cannot go on from its state, which is cut short");
  }
  if (state.steps.empty() || state.first.size() != state.values.size() || state.second.size() != state.values.size())
    throw StateRefused("the run cannot go on from its state, whose parts do not fit each other");
  return state;
}

std::string trained_sha256(const RunState& state) {
  base::Sha256 hash;
  for (const std::vector<float>* part : {&state.values, &state.first, &state.second})
    hash.update(part->data(), part->size() * sizeof(float));
  return hash.hex();
}

void check_origin(const RunState::Origin& saved, const RunState::Origin& present) {
  std::string other;
  const auto compare = [&](const char* name, const std::string& one, const std::string& now) {
    if (one != now) other += (other.empty() ? "" : ", ") + std::string(name);
  };
  compare("the program or its device", saved.engine, present.engine);
  compare("the settings", saved.settings, present.settings);
  compare("the training rows", saved.training_rows, present.training_rows);
  compare("the validation rows", saved.validation_rows, present.validation_rows);
  compare("the base", saved.base, present.base);
  if (!other.empty()) throw StateRefused("the run cannot go on from its state: " + other + " changed since");
}

}  // namespace finetuned::training
