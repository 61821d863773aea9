// A run of some steps, whose losses and last bits are told: bfloat16 on a GPU follows single precision on the processor, two runs give
// the same bits, and one that was killed goes on to the same end.

#include <cstdio>
#include <fstream>
#include <unistd.h>

#include "tests/gpu/run_steps.h"

namespace finetuned::gpu_proof {

namespace {

/// FNV-1a over the bits of everything that a run goes on from.
class Hash {
 public:
  void add(std::span<const float> values) {
    for (const float value : values) {
      const auto bits = std::bit_cast<std::uint32_t>(value);
      for (int shift = 0; shift < 32; shift += 8) state_ = (state_ ^ (bits >> shift & 0xff)) * 0x100000001b3;
    }
  }
  unsigned long long value() const { return state_; }

 private:
  std::uint64_t state_ = 0xcbf29ce484222325;
};

/// What a run goes on from, on the device: the trained values and AdamW's moments.
template <class Device>
std::vector<std::span<float>> state_of(model::Transformer<Device>& model) {
  const auto trained = model.trainables();
  float* const first = trained.front().value.data();
  return {{first, trained.back().value.data() + trained.back().value.size()}, model.first_moments(), model.second_moments()};
}

template <class Device>
std::vector<float> on_host(const Device& device, std::span<const float> part) {
  std::vector<float> values(part.size());
  device.copy_out(values.data(), part.data(), static_cast<std::int64_t>(part.size()));
  return values;
}

/// Written beside and renamed: a killed run leaves a whole one or none.
template <class Device>
void save(const Device& device, model::Transformer<Device>& model, std::int64_t step, const std::string& file) {
  {
    std::ofstream out(file + ".tmp", std::ios::binary | std::ios::trunc);
    out.write(reinterpret_cast<const char*>(&step), sizeof step);
    for (const auto part : state_of(model)) {
      const std::vector<float> values = on_host(device, part);
      out.write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
    }
    if (!out.flush()) throw std::runtime_error(file + " cannot be written");
  }
  if (std::rename((file + ".tmp").c_str(), file.c_str()) != 0) throw std::runtime_error(file + " cannot be written");
}

/// The step that `file` was saved after.
template <class Device>
std::int64_t load(const Device& device, model::Transformer<Device>& model, const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  std::int64_t step = 0;
  in.read(reinterpret_cast<char*>(&step), sizeof step);
  for (const auto part : state_of(model)) {
    std::vector<float> values(part.size());
    in.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
    device.copy_in(part.data(), values.data(), static_cast<std::int64_t>(values.size()));
  }
  if (!in) throw std::runtime_error(file + " is no state of this model");
  model.values_changed();
  return step;
}

template <class Device>
int run_on(Device& device, const Options& options) {
  const formats::ModelConfig config = config_of(options.text("--model", "small"));
  const std::int64_t steps = options.integer("--steps", 32), tokens = options.integer("--tokens", 96);
  const auto rows = random_rows(options.integer("--rows", 16), tokens, config.vocab_size);
  model::ModelSettings settings;
  settings.mode = model::Mode::kLora;
  settings.lora.rank = 16;
  settings.lora.dropout = options.flag("--dropout") ? 0.1 : 0;
  settings.lora.target_modules.assign(std::begin(formats::kLinearModules), std::end(formats::kLinearModules));
  settings.max_tokens = tokens * static_cast<std::int64_t>((rows.size() + 1) / 2);  // two micro-batches a step
  settings.max_rows = static_cast<std::int64_t>(rows.size());
  settings.recompute = options.flag("--recompute");
  settings.graphs = !options.flag("--no-graphs");
  model::Transformer<Device> model(device, config, quick_weights(), settings);
  const std::string from = options.text("--from", ""), to = options.text("--state", "");
  const std::int64_t save_at = options.integer("--save-at", 0);
  const std::int64_t begun = from.empty() ? 0 : load(device, model, from);
  for (std::int64_t step = begun + 1; step <= steps; ++step) {
    const kernels::LossSums sums = take_step(model, rows, step);
    std::printf("{\"step\": %lld, \"loss\": %s}\n", static_cast<long long>(step),
                number(sums.loss / static_cast<double>(sums.supervised)).c_str());
    std::fflush(stdout);
    if (!to.empty() && step == save_at) save(device, model, step, to);
  }
  Hash hash;
  for (const auto part : state_of(model)) hash.add(on_host(device, part));
  std::printf("{\"hash\": \"%016llx\", \"graphs_started\": %lld}\n", hash.value(), static_cast<long long>(model.graph_starts()));
  return 0;
}

}  // namespace

int run_trajectory(const Options& options) {
  options.allow({"--gpu", "--model", "--device", "--steps", "--rows", "--tokens", "--state", "--save-at", "--from"},
                {"--dropout", "--recompute", "--no-graphs"});
  const std::string name = options.text("--device", "cuda");
  if (name == "cpu") {
    tensor::Cpu cpu;
    return run_on(cpu, options);
  }
  if (name != "cuda") throw WrongUse("there is no device '" + name + "'");
  tensor::Cuda cuda(static_cast<int>(options.integer("--gpu", 0)));
  return run_on(cuda, options);
}

}  // namespace finetuned::gpu_proof
