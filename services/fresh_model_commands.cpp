#include "services/fresh_model_commands.h"

#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/files.h"
#include "base/machine.h"
#include "services/engine_rows.h"
#include "trainer/formats/hf_config.h"
#include "trainer/formats/safetensors.h"
#include "trainer/model/weight_source.h"
#include "trainer/text/bpe_trainer.h"
#include "trainer/text/chat_template.h"
#include "trainer/text/tokenizer.h"

namespace finetuned::services {

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kMostTextBytes = std::uint64_t{1} << 30;
constexpr std::uint64_t kMostFileBytes = std::uint64_t{64} << 20;

/// Makes `directory`; refuses one that holds `file` already, so that no model is overwritten by mistake.
void make_directory_without(const fs::path& directory, const char* file) {
  if (fs::exists(directory) && !fs::is_directory(directory))
    throw base::UsageError(directory.string() + " is not a directory; name another --out");
  if (fs::exists(directory / file))
    throw base::UsageError((directory / file).string() + " exists already; name another --out or remove it");
  fs::create_directories(directory);
}

struct TokenizerArguments {
  std::string text, out, chat_template;
  text::BpeTrainerOptions options;
};

void train_tokenizer(TokenizerArguments& arguments) {
  if (!arguments.chat_template.empty()) {
    arguments.options.chat_template = base::read_file(arguments.chat_template, kMostFileBytes);
    text::ChatTemplate::parse(arguments.chat_template, arguments.options.chat_template);
  }
  const std::string text = base::read_file(arguments.text, kMostTextBytes);
  make_directory_without(arguments.out, "tokenizer.json");
  text::train_bpe_tokenizer(text, arguments.options, arguments.out);
  std::cout << arguments.out << ": " << text::Tokenizer::load(arguments.out).vocabulary_size() << " tokens\n";
}

void add_tokenizer_train(CLI::App& app) {
  CLI::App& tokenizer = *app.add_subcommand("tokenizer", "make tokenizers");
  tokenizer.require_subcommand(1);
  CLI::App& command = *tokenizer.add_subcommand("train", "learn a byte-level BPE vocabulary from a text");
  auto arguments = std::make_shared<TokenizerArguments>();
  text::BpeTrainerOptions& options = arguments->options;
  command.add_option("--text", arguments->text, "the UTF-8 text to learn from")->required()->check(CLI::ExistingFile);
  command.add_option("--out", arguments->out, "the directory to write into")->required();
  command.add_option("--vocabulary", options.vocabulary_size, "tokens in all: 256 bytes, merges and special tokens")
      ->capture_default_str()->check(CLI::Range(256, 1 << 20));
  command.add_option("--chat-template", arguments->chat_template, "a file with the chat template (Jinja)")
      ->check(CLI::ExistingFile);
  command.add_option("--model-max-length", options.model_max_length, "the model's context, in tokens")
      ->capture_default_str()->check(CLI::Range(1, 1 << 30));
  command.callback([arguments] { train_tokenizer(*arguments); });
}

struct InitArguments {
  std::string config, tokenizer, out;
  std::uint64_t seed = 0;
  double deviation = 0.02;
};

void write_weights(const formats::ModelConfig& config, const InitArguments& arguments) {
  const model::WeightSource source = model::fresh_weights(config, arguments.seed, arguments.deviation);
  const std::vector<formats::ExpectedTensor> expected = formats::expected_tensors(config);
  std::vector<std::vector<float>> values;
  std::vector<formats::TensorToWrite> tensors;
  for (const formats::ExpectedTensor& tensor : expected) {
    std::size_t elements = 1;
    for (const std::int64_t extent : tensor.shape) elements *= static_cast<std::size_t>(extent);
    values.emplace_back(elements);
    source(tensor.name, values.back());
    tensors.push_back({tensor.name, tensor.shape, values.back()});
  }
  formats::write_safetensors(fs::path(arguments.out) / "model.safetensors", std::move(tensors));
}

/// All weights are made before they are written.
void check_memory(const formats::ModelConfig& config) {
  const std::uint64_t machine = base::machine_memory_bytes();
  const double bytes = 4.0 * static_cast<double>(formats::parameter_count(config));
  if (bytes > 0.9 * static_cast<double>(machine))
    throw base::UsageError("a model of " + std::to_string(formats::parameter_count(config)) + " parameters takes " +
                           std::to_string(static_cast<std::uint64_t>(bytes / 1e6)) + " MB to make, and this machine has " +
                           std::to_string(machine / 1'000'000) + " MB of memory; lower the sizes in the config");
}

void init_model(const InitArguments& arguments) {
  const std::string text = base::read_file(arguments.config, kMostFileBytes);
  const formats::ModelConfig config = formats::parse_model_config(text, arguments.config);
  const text::Tokenizer tokenizer = text::Tokenizer::load(arguments.tokenizer);
  if (tokenizer.vocabulary_size() > config.vocab_size)
    throw base::UsageError("the tokenizer has " + std::to_string(tokenizer.vocabulary_size()) + " tokens, but " +
                           arguments.config + " says vocab_size " + std::to_string(config.vocab_size) +
                           "; raise it to at least the tokenizer's");
  check_memory(config);
  make_directory_without(arguments.out, "model.safetensors");
  const fs::path out = arguments.out;
  for (const char* name : {"tokenizer.json", "tokenizer_config.json"})
    base::write_durably(out / name, base::read_file(fs::path(arguments.tokenizer) / name, kMostFileBytes));
  base::write_durably(out / "config.json", text);
  write_weights(config, arguments);
  std::cout << arguments.out << ": " << formats::parameter_count(config) << " parameters\n";
}

CLI::App& models_group(CLI::App& app) {
  for (CLI::App* group : app.get_subcommands([](CLI::App* group) { return group->get_name() == "models"; })) return *group;
  CLI::App& made = *app.add_subcommand("models", "base models");
  made.require_subcommand(1);
  return made;
}

void add_models_init(CLI::App& app) {
  CLI::App& command = *models_group(app).add_subcommand("init", "make a model with fresh weights, to be trained by `train --full`");
  auto arguments = std::make_shared<InitArguments>();
  command.add_option("--config", arguments->config, "a Hugging Face config.json")->required()->check(CLI::ExistingFile);
  command.add_option("--tokenizer", arguments->tokenizer, "a directory with tokenizer.json and tokenizer_config.json")
      ->required()->check(CLI::ExistingDirectory);
  command.add_option("--out", arguments->out, "the directory to write into")->required();
  command.add_option("--seed", arguments->seed, "the same seed gives the same weights")
      ->capture_default_str()->check(refuse_seed);
  command.add_option("--deviation", arguments->deviation, "standard deviation of the first weights")
      ->capture_default_str()->check(CLI::Range(1e-6, 10.0));
  command.callback([arguments] { init_model(*arguments); });
}

}  // namespace

void add_fresh_model_commands(CLI::App& app) {
  add_tokenizer_train(app);
  add_models_init(app);
}

}  // namespace finetuned::services
