#include "services/evaluate_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/json.h"
#include "trainer/formats/hf_config.h"
#include "trainer/formats/peft.h"
#include "trainer/formats/safetensors.h"
#include "trainer/generate/generate.h"
#include "trainer/model/transformer.h"
#include "trainer/model/weight_source.h"
#include "trainer/text/dataset.h"
#include "trainer/text/supervised.h"

namespace finetuned::services {

namespace fs = std::filesystem;
namespace json = base::json;

namespace {

constexpr std::int64_t kPieceTokens = 256;  // of a prompt that go through the model at once

struct EvaluateArguments {
  std::string base, adapter, data;
  std::int64_t max_tokens = 64;
  std::int64_t show = 0;
  bool as_json = false;
  int threads = 0;
};

/// A question for the model, and the answer that counts as right.
struct Question {
  text::Row row;  ///< without its last turn
  std::string expected;
};

struct Answered {
  std::string prompt, expected, answer;
  bool exact() const { return expected == answer; }
};

std::string trimmed(const std::string& text) {
  constexpr const char* kSpace = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpace);
  return begin == std::string::npos ? "" : text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

[[noreturn]] void refuse(const std::string& file, std::int64_t line, const std::string& message) {
  throw base::UsageError(file + ": " + (line > 0 ? "line " + std::to_string(line) + ": " : "") + message);
}

std::vector<Question> read_questions(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  text::DatasetLimits limits;
  limits.min_examples = 1;
  text::DatasetReader reader(in, limits);
  std::vector<Question> questions;
  while (std::optional<text::Row> row = reader.next()) {
    const text::Message& last = row->messages.back();
    if (last.role != text::Role::kAssistant || !last.content)
      refuse(file, row->line, "its last turn is not an assistant's text, so there is nothing to compare with");
    Question question{std::move(*row), trimmed(*last.content)};
    question.row.messages.pop_back();
    questions.push_back(std::move(question));
  }
  const text::FaultList& faults = reader.faults();
  if (faults.count() > 0)
    refuse(file, faults.kept()[0].line, faults.kept()[0].message + " (" + std::to_string(faults.count()) + " faults in all)");
  return questions;
}

/// A model ready to answer.
class Answerer {
 public:
  explicit Answerer(const EvaluateArguments& arguments)
      : encoder_(arguments.base), device_(arguments.threads), max_tokens_(arguments.max_tokens) {
    const formats::ModelConfig config = formats::read_model_config(arguments.base);
    const formats::Weights weights = formats::Weights::open(arguments.base);
    formats::check_weights(config, weights);
    model::ModelSettings settings;
    settings.max_tokens = std::min(kPieceTokens, config.max_position_embeddings);
    settings.max_rows = 1;
    std::optional<formats::Adapter> adapter;
    if (!arguments.adapter.empty()) {
      adapter = formats::read_adapter(arguments.adapter, config);
      settings.mode = model::Mode::kAdapter;
      settings.lora.rank = adapter->config.rank;
      settings.lora.alpha = adapter->config.alpha;
      settings.lora.use_rslora = adapter->config.use_rslora;
      settings.lora.target_modules = adapter->config.target_modules;
    }
    model_.emplace(device_, config, model::stored_weights(weights), settings);
    if (adapter) model_->load_adapter(*adapter);
    stop_ids_ = config.eos_token_ids;
    const std::optional<std::int32_t> eos = encoder_.tokenizer().eos_id();
    if (eos && std::find(stop_ids_.begin(), stop_ids_.end(), *eos) == stop_ids_.end()) stop_ids_.push_back(*eos);
  }

  Answered answer(const Question& question) {
    const std::string prompt = encoder_.render(question.row, true);
    const std::vector<std::int32_t> ids = encoder_.tokenizer().encode(prompt, {.add_special = false});
    generate::Request request;
    request.max_tokens = max_tokens_;
    request.stop_ids = stop_ids_;
    const generate::Answer answer = generate::generate(*model_, ids, request);
    return {prompt, question.expected, trimmed(encoder_.tokenizer().decode(answer.ids))};
  }

 private:
  text::RowEncoder encoder_;
  tensor::Cpu device_;
  std::optional<model::Transformer<tensor::Cpu>> model_;
  std::vector<std::int32_t> stop_ids_;
  std::int64_t max_tokens_;
};

void print_text(const std::vector<Answered>& answers, std::size_t exact, std::size_t shown) {
  for (std::size_t i = 0; i < shown; ++i) {
    const Answered& one = answers[i];
    std::cout << one.prompt << "\n  expected: " << one.expected << "\n  answered: " << one.answer
              << (one.exact() ? "" : "  (differs)") << "\n\n";
  }
  char share[32];
  std::snprintf(share, sizeof share, "%.1f%%", 100.0 * static_cast<double>(exact) / static_cast<double>(answers.size()));
  std::cout << "exact match: " << exact << "/" << answers.size() << " (" << share << ")\n";
}

void print_json(const std::vector<Answered>& answers, std::size_t exact, std::size_t shown) {
  json::array samples;
  for (std::size_t i = 0; i < shown; ++i) {
    json::object sample;
    sample["prompt"] = answers[i].prompt;
    sample["expected"] = answers[i].expected;
    sample["answer"] = answers[i].answer;
    sample["exact"] = answers[i].exact();
    samples.push_back(std::move(sample));
  }
  json::object result;
  result["rows"] = answers.size();
  result["exact"] = exact;
  result["exact_match"] = static_cast<double>(exact) / static_cast<double>(answers.size());
  result["samples"] = std::move(samples);
  std::cout << json::serialize(result) << "\n";
}

void evaluate(const EvaluateArguments& arguments) {
  const std::vector<Question> questions = read_questions(arguments.data);
  Answerer answerer(arguments);
  std::vector<Answered> answers;
  for (const Question& question : questions) {
    try {
      answers.push_back(answerer.answer(question));
    } catch (const text::TemplateError& error) {
      refuse(arguments.data, question.row.line, error.what());
    } catch (const base::UsageError& error) {
      refuse(arguments.data, question.row.line, error.what());
    }
  }
  const auto exact = static_cast<std::size_t>(std::count_if(answers.begin(), answers.end(),
                                                           [](const Answered& one) { return one.exact(); }));
  const std::size_t shown = std::min(answers.size(), static_cast<std::size_t>(arguments.show));
  if (arguments.as_json) return print_json(answers, exact, shown);
  print_text(answers, exact, shown);
}

}  // namespace

void add_evaluate_command(CLI::App& app) {
  CLI::App& command = *app.add_subcommand("evaluate", "count the rows whose last answer a model gives word for word");
  auto arguments = std::make_shared<EvaluateArguments>();
  command.add_option("--base", arguments->base, "the model: a Hugging Face directory")
      ->required()->check(CLI::ExistingDirectory);
  command.add_option("--adapter", arguments->adapter, "a PEFT directory to put on it")->check(CLI::ExistingDirectory);
  command.add_option("--data", arguments->data, "rows in any format that `train` reads (JSONL)")
      ->required()->check(CLI::ExistingFile);
  command.add_option("--max-tokens", arguments->max_tokens, "the longest answer, in tokens")
      ->capture_default_str()->check(CLI::PositiveNumber);
  command.add_option("--show", arguments->show, "print the first so many rows with the model's answer")
      ->capture_default_str()->check(CLI::NonNegativeNumber);
  command.add_flag("--json", arguments->as_json, "print JSON");
  command.add_option("--threads", arguments->threads, "0: one a processor")
      ->capture_default_str()->check(CLI::NonNegativeNumber);
  command.callback([arguments] { evaluate(*arguments); });
}

}  // namespace finetuned::services
