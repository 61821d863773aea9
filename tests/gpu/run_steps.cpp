#include "tests/gpu/run_steps.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "trainer/kernels/counter_rng.h"

namespace finetuned::gpu_proof {

Options::Options(std::span<char* const> words) : words_(words.begin(), words.end()) {}

std::string Options::text(const std::string& name, const std::string& otherwise) const {
  for (std::size_t i = 0; i < words_.size(); ++i) {
    if (words_[i] != name) continue;
    if (i + 1 == words_.size()) throw WrongUse(name + " wants a value");
    return words_[i + 1];
  }
  return otherwise;
}

std::int64_t Options::integer(const std::string& name, std::int64_t otherwise) const {
  const std::string given = text(name, "");
  if (given.empty()) return otherwise;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), value);
  if (error != std::errc() || end != given.data() + given.size() || value < 0)
    throw WrongUse(name + ": '" + given + "' is no number from 0");
  return value;
}

bool Options::flag(const std::string& name) const { return std::find(words_.begin(), words_.end(), name) != words_.end(); }

void Options::allow(std::initializer_list<const char*> values, std::initializer_list<const char*> flags) const {
  const auto among = [](const std::string& word, const auto& known) { return std::find(known.begin(), known.end(), word) != known.end(); };
  for (std::size_t i = 0; i < words_.size(); ++i) {
    if (among(words_[i], values)) {
      ++i;
    } else if (!among(words_[i], flags)) {
      throw WrongUse("there is no option '" + words_[i] + "' here (see --help)");
    }
  }
}

std::string number(double value, const char* format) {
  if (!std::isfinite(value)) return "null";
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

namespace {

struct Shape {
  const char* name;
  formats::Architecture architecture;
  std::int64_t vocabulary, hidden, intermediate, layers, heads, kv_heads, head_dim;
  bool tied;
  double rope_theta;
};

constexpr auto kLlama = formats::Architecture::kLlama, kQwen2 = formats::Architecture::kQwen2;
constexpr Shape kShapes[] = {
    {"tiny", kLlama, 97, 32, 48, 2, 4, 2, 8, true, 1e4},
    {"small", kLlama, 1000, 256, 688, 4, 4, 2, 64, true, 1e4},
    {"qwen2.5-0.5b", kQwen2, 151'936, 896, 4864, 24, 14, 2, 64, true, 1e6},
    {"qwen2.5-1.5b", kQwen2, 151'936, 1536, 8960, 28, 12, 2, 128, true, 1e6},
    {"qwen2.5-7b", kQwen2, 152'064, 3584, 18'944, 28, 28, 4, 128, false, 1e6},
    {"llama-3-8b", kLlama, 128'256, 4096, 14'336, 32, 32, 8, 128, false, 5e5},
};

}  // namespace

formats::ModelConfig config_of(const std::string& name) {
  const auto* const shape = std::find_if(std::begin(kShapes), std::end(kShapes), [&](const Shape& one) { return name == one.name; });
  if (shape == std::end(kShapes)) throw WrongUse("there is no model '" + name + "'");
  formats::ModelConfig config;
  config.architecture = shape->architecture;
  config.vocab_size = shape->vocabulary;
  config.hidden_size = shape->hidden;
  config.intermediate_size = shape->intermediate;
  config.layers = shape->layers;
  config.heads = shape->heads;
  config.kv_heads = shape->kv_heads;
  config.head_dim = shape->head_dim;
  config.max_position_embeddings = 32'768;
  config.rms_norm_eps = 1e-6;
  config.rope_theta = shape->rope_theta;
  config.tie_word_embeddings = shape->tied;
  config.qkv_bias = shape->architecture == kQwen2;
  return config;
}

model::WeightSource quick_weights() {
  constexpr std::size_t kTable = (1 << 20) - 3;  // odd, so that rows differ
  std::vector<float> table(kTable);
  for (std::size_t i = 0; i < kTable; ++i)
    table[i] = tensor::widened(tensor::rounded(static_cast<float>(0.06 * (2 * kernels::random_uniform(kernels::random_key(1), i) - 1))));
  return [table = std::move(table)](const std::string& name, std::span<float> out) {
    for (std::size_t done = 0; done < out.size();) {
      const std::size_t count = std::min(out.size() - done, table.size());
      std::copy_n(table.begin(), count, out.begin() + static_cast<std::ptrdiff_t>(done));
      done += count;
    }
    if (name.ends_with("norm.weight"))
      for (float& value : out) value = tensor::widened(tensor::rounded(value + 1));
  };
}

std::vector<text::TokenRow> random_rows(std::int64_t count, std::int64_t tokens, std::int64_t vocabulary) {
  std::vector<text::TokenRow> rows(static_cast<std::size_t>(count));
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const std::uint64_t key = kernels::random_key(7, r);
    for (std::int64_t i = 0; i < tokens; ++i)
      rows[r].ids.push_back(static_cast<std::int32_t>(kernels::random_bits(key, static_cast<std::uint64_t>(i)) %
                                                      static_cast<std::uint64_t>(vocabulary)));
    rows[r].labels = rows[r].ids;
  }
  return rows;
}

}  // namespace finetuned::gpu_proof
