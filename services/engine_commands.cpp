#include "services/engine_commands.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <memory>
#include <string>

#include "base/errors.h"
#include "services/engine_device.h"
#include "services/engine_generate.h"
#include "services/engine_rows.h"
#include "services/engine_train.h"
#include "trainer/text/tokenizer.h"

namespace finetuned::services {

namespace {

using training::LrScheduler;
using training::RunConfig;

const std::map<std::string, LrScheduler> kSchedulers{
    {"linear", LrScheduler::kLinear}, {"cosine", LrScheduler::kCosine}, {"constant", LrScheduler::kConstant}};
const std::map<std::string, formats::Dtype> kDtypes{
    {"f32", formats::Dtype::kF32}, {"bf16", formats::Dtype::kBF16}, {"f16", formats::Dtype::kF16}};

constexpr std::int64_t kStateSeconds = 60;

/// Offers the names of `choices` and stores what the chosen one stands for.
template <class Value>
void add_choice(CLI::App& command, const std::string& option, Value& value, const std::map<std::string, Value>& choices,
                const std::string& help) {
  std::string names;
  std::string present;
  for (const auto& [name, meaning] : choices) {
    names += (names.empty() ? "" : "|") + name;
    if (meaning == value) present = name;
  }
  const auto choose = [option, names, &value, &choices](const std::string& name) {
    const auto chosen = choices.find(name);
    if (chosen == choices.end()) throw base::UsageError(option + ": '" + name + "' is none of " + names);
    value = chosen->second;
  };
  command.add_option_function<std::string>(option, choose, help)->type_name(names)->default_str(present);
}

void add_data_options(CLI::App& command, TrainArguments& arguments) {
  RunConfig& run = arguments.run;
  command.add_option("--base", run.base_directory, "the base model: a Hugging Face directory")
      ->required()->check(CLI::ExistingDirectory);
  command.add_option("--data", arguments.data,
                     "training rows, a JSON line each: chat messages, prompt and completion, Alpaca or ShareGPT")
      ->check(CLI::ExistingFile);
  command.add_option("--tokens", arguments.tokens,
                     "instead of --data: rows of {\"ids\":[...],\"labels\":[...]}, -100 = not trained on, in file order")
      ->check(CLI::ExistingFile);
  command.add_option("--validation", arguments.validation, "held-out rows, as --data")->check(CLI::ExistingFile);
  command.add_option("--out", run.out_directory, "the directory for the adapter, step_metrics.csv and manifest.json")
      ->required();
  command.add_option("--log", arguments.log, "a JSON line a step: loss, grad_norm, tokens, seconds, tokens_per_second, gemm_share, memory_bytes");
  command.add_option("--max-seq-length", run.max_seq_length, "longer rows are cut; 0: the base's context")
      ->capture_default_str();
  command.add_flag("--train-on-inputs", arguments.train_on_inputs, "supervise every token, not the answers alone");
  command.add_flag_callback("--no-shuffle", [&run] { run.shuffle = false; }, "take the rows in the file's order in each epoch");
}

void add_adapter_options(CLI::App& command, TrainArguments& arguments) {
  RunConfig& run = arguments.run;
  command.add_option("--init-adapter", run.init_adapter, "a PEFT adapter to go on from; rank and alpha default to its own")
      ->check(CLI::ExistingDirectory);
  command.add_option("--rank", run.lora_rank, "rank of the adapter")->capture_default_str();
  command.add_option("--alpha", run.lora_alpha, "its scale is alpha / rank")->capture_default_str();
  command.add_option("--dropout", run.lora_dropout, "of the adapter's input")->capture_default_str();
  command.add_flag("--use-rslora", run.use_rslora, "scale by alpha / sqrt(rank)");
  command.add_option("--target-modules", run.target_modules, "the linear layers to adapt, by commas")
      ->delimiter(',')->capture_default_str();
  CLI::Option* const full =
      command.add_flag("--full", run.full_parameter, "train every weight; writes a Hugging Face directory");
  for (const char* of_adapter : {"--init-adapter", "--rank", "--alpha", "--dropout", "--use-rslora", "--target-modules"})
    full->excludes(of_adapter);
  add_choice(command, "--dtype", run.dtype, kDtypes, "of the weights written");
}

void add_step_options(CLI::App& command, RunConfig& run) {
  command.add_option("--learning-rate", run.learning_rate, "its peak")->capture_default_str();
  add_choice(command, "--lr-scheduler", run.lr_scheduler, kSchedulers, "how it goes on after the warm-up");
  command.add_option("--warmup-ratio", run.warmup_ratio, "share of the steps that it rises in")->capture_default_str();
  command.add_option("--weight-decay", run.weight_decay, "decoupled, as in AdamW")->capture_default_str();
  command.add_option("--max-grad-norm", run.max_grad_norm, "gradients are clipped to this norm; 0: never")
      ->capture_default_str();
  command.add_option("--batch-size", run.batch_size, "rows a step")->capture_default_str();
  command.add_option("--epochs", run.epochs, "passes over the rows")->capture_default_str();
  command.add_option("--steps", run.max_steps, "end after so many steps, whatever --epochs says");
  command.add_option("--seed", run.seed, "of the adapter's first values, the rows' order and dropout")
      ->capture_default_str()->check(refuse_seed);
  command.add_option("--validation-steps", run.validation_steps,
                     "a sample of the validation rows each so many steps; 0: 25 times a run")->capture_default_str();
  command.add_option("--checkpoint-steps", run.checkpoint_steps, "keep OUT/step-N each so many steps");
  command.add_flag_callback("--no-epoch-checkpoints", [&run] { run.checkpoint_epochs = false; },
                            "keep no OUT/step-N at the end of an epoch");
  command.add_flag("--recompute", run.recompute,
                   "keep less: work each layer's activations out again on the way back, at a third more time and the same "
                   "bits; without it, only where memory is too short");
  command.add_option("--micro-batch-tokens", run.micro_batch_tokens,
                     "tokens that go through the model at once; 0: 2,048 (on a GPU 16,384) or the longest row, less where memory is short")
      ->capture_default_str();
}

void add_state_options(CLI::App& command, TrainArguments& arguments) {
  RunConfig& run = arguments.run;
  const char* const group = "Runs that are interrupted (they give the bytes of one that was not)";
  CLI::Option* const state = command.add_option("--state", run.state_file,
                                                "keep in this file what the run needs to go on, while it runs and when it is "
                                                "interrupted: the same command goes on from there, and removes it at its end")->group(group);
  command.add_option("--state-seconds", run.state_seconds, "how often it is kept while the run runs; 0: not by time")
      ->capture_default_str()->needs(state)->group(group);
  command.add_option("--state-steps", run.state_steps, "also each so many steps; 0: not by steps")
      ->capture_default_str()->needs(state)->group(group);
  command.add_option("--verify-resume", arguments.verify_kills,
                     "check it: train once whole, and once more killed so many times and begun again, and compare the bytes")
      ->check(CLI::Range(1, 1000))->group(group);
}

void add_worker_options(CLI::App& command, TrainArguments& arguments) {
  WorkerArguments& workers = arguments.workers;
  const char* const group = "Who trains (the same bytes whoever does, on devices of one kind)";
  add_device_option(command, arguments.device);
  command.get_option("--device")->group(group);
  command.add_option("--threads", arguments.run.threads, "of a worker; 0: the cores, shared by --workers")
      ->capture_default_str()->check(CLI::Range(0, 1024))->group(group);
  command.add_option("--workers", workers.workers,
                     "processes on this machine that share each step, 1 to 8; on GPUs one takes --device's, the next the next")
      ->capture_default_str()->group(group);
  command.add_option("--rendezvous", workers.rendezvous,
                     "HOST:PORT where the processes of several machines meet: rank 0 listens there, the others come to it, "
                     "each given the same rows and settings. Not encrypted: an address of a private network; a PORT alone "
                     "is this machine's")->group(group);
  command.add_option("--world-rank", workers.world_rank, "with --rendezvous: which of them this is, from 0; rank 0 reports "
                     "and writes --out")->group(group);
  command.add_option("--world-size", workers.world_size, "with --rendezvous: how many they are, 2 to 8")->group(group);
  command.add_option("--peer-timeout", workers.peer_timeout_seconds, "seconds after which a silent worker is given up")
      ->capture_default_str()->group(group);
}

void add_train(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("train", "train an adapter, or every weight, of a base model on this machine");
  auto arguments = std::make_shared<TrainArguments>();
  add_data_options(command, *arguments);
  add_adapter_options(command, *arguments);
  add_step_options(command, arguments->run);
  arguments->run.state_seconds = kStateSeconds;
  add_state_options(command, *arguments);
  add_worker_options(command, *arguments);
  CLI::App* const parsed = &command;
  command.callback([arguments, parsed] {
    arguments->rank_given = parsed->count("--rank") > 0;
    arguments->alpha_given = parsed->count("--alpha") > 0;
    arguments->rslora_given = parsed->count("--use-rslora") > 0;
    arguments->modules_given = parsed->count("--target-modules") > 0;
    train(*arguments);
  });
}

void add_generate(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("generate", "continue a prompt with a base model and, if given, an adapter");
  auto arguments = std::make_shared<GenerateArguments>();
  command.add_option("--base", arguments->base, "the base model: a Hugging Face directory")
      ->required()->check(CLI::ExistingDirectory);
  command.add_option("--adapter", arguments->adapter, "a PEFT adapter's directory")->check(CLI::ExistingDirectory);
  command.add_option("--prompt", arguments->prompt, "the text to continue");
  command.add_option("--ids", arguments->ids, "instead of --prompt: its token ids, by spaces or commas");
  command.add_option("--prompts", arguments->prompts,
                     "instead of --prompt: a file with one a line, answered side by side; prints a JSON line each")
      ->check(CLI::ExistingFile);
  command.add_flag("--chat", arguments->chat, "the prompt is a user's turn, to be answered by the model's chat template");
  command.add_option("--max-tokens", arguments->max_tokens, "new tokens at most")
      ->capture_default_str()->check(CLI::Range(1, 1 << 24));
  command.add_option("--temperature", arguments->temperature, "0: always the likeliest token")
      ->capture_default_str()->check(CLI::Range(0.0, 100.0));
  command.add_option("--top-p", arguments->top_p, "draw among the likeliest tokens of this probability together")
      ->capture_default_str()->check(CLI::Range(0.0, 1.0));
  command.add_option("--seed", arguments->seed, "the same seed draws the same text")
      ->capture_default_str()->check(refuse_seed);
  command.add_flag("--no-kv-cache", arguments->no_kv_cache, "compute everything anew for each token; the same text, slower");
  command.add_flag("--print-ids", arguments->print_ids, "print token ids instead of text");
  command.add_flag("--ignore-eos", arguments->ignore_eos, "go on beyond the end-of-text token");
  add_device_option(command, arguments->device);
  command.add_option("--threads", arguments->threads, "0: one a core")->capture_default_str()->check(CLI::Range(0, 1024));
  command.callback([arguments] { generate(*arguments); });
}

struct TokenizeArguments {
  std::string base;
  bool decode = false;
  bool no_special = false;
  bool keep_special = false;
};

void tokenize(const TokenizeArguments& arguments) {
  const text::Tokenizer tokenizer = text::Tokenizer::load(arguments.base);
  std::int64_t number = 0;
  for (std::string line; std::getline(std::cin, line);) {
    ++number;
    if (arguments.decode) {
      const std::string place = "line " + std::to_string(number);
      const std::vector<std::int32_t> ids = parse_ids(line, place);
      for (const std::int32_t id : ids)
        if (id >= tokenizer.vocabulary_size())
          throw base::UsageError(place + ": " + std::to_string(id) + " is not in the vocabulary of " +
                                 std::to_string(tokenizer.vocabulary_size()));
      std::cout << tokenizer.decode(ids, !arguments.keep_special) << "\n";
      continue;
    }
    const char* separator = "";
    for (const std::int32_t id : tokenizer.encode(line, {.add_special = !arguments.no_special})) {
      std::cout << separator << id;
      separator = " ";
    }
    std::cout << "\n";
  }
  if (std::cin.bad())
    throw std::runtime_error("standard input cannot be read beyond line " + std::to_string(number));
}

void add_tokenize(CLI::App& app) {
  CLI::App& command =
      *app.add_subcommand("tokenize", "token ids of each line of standard input, or with --decode the text of each line's ids");
  auto arguments = std::make_shared<TokenizeArguments>();
  command.add_option("--base", arguments->base, "a Hugging Face directory")->required()->check(CLI::ExistingDirectory);
  command.add_flag("--decode", arguments->decode, "ids in, text out");
  command.add_flag("--no-special", arguments->no_special, "add no bos or eos");
  command.add_flag("--keep-special", arguments->keep_special, "with --decode: print special tokens too");
  command.callback([arguments] { tokenize(*arguments); });
}

}  // namespace

void add_engine_commands(CLI::App& app) {
  add_train(app);
  add_generate(app);
  add_tokenize(app);
}

}  // namespace finetuned::services
