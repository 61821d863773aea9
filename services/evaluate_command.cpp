#include "services/evaluate_command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <boost/json/serialize.hpp>
#include <cstdio>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/errors.h"
#include "base/json.h"
#include "services/engine_device.h"
#include "services/engine_rows.h"
#include "trainer/formats/hf_config.h"
#include "trainer/generate/any_model.h"
#include "trainer/text/dataset.h"
#include "trainer/text/supervised.h"
#include "trainer/text/utf8.h"

namespace finetuned::services {

namespace json = base::json;

namespace {

constexpr std::int64_t kTogether = 32;  // questions that are answered side by side

struct EvaluateArguments {
  std::string base, adapter, data;
  std::int64_t max_tokens = 64;
  std::int64_t show = 0;
  bool as_json = false;
  std::string device = "cpu";
  int threads = 0;
};

/// A question for the model, and the answer that counts as right.
struct Question {
  std::string prompt;
  std::vector<std::int32_t> ids;  ///< of `prompt`
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

Question question_of(text::Row& row, const std::string& file, const text::RowEncoder& encoder,
                     const formats::ModelConfig& config) {
  const text::Message& last = row.messages.back();
  if (last.role != text::Role::kAssistant || !last.content)
    refuse(file, row.line, "its last turn is not an assistant's text, so there is nothing to compare with");
  Question question;
  question.expected = trimmed(*last.content);
  row.messages.pop_back();
  try {
    question.prompt = encoder.render(row, true);
  } catch (const text::RowError& error) {
    refuse(file, row.line, error.what());
  }
  question.ids = encoder.tokenizer().encode(question.prompt, {.add_special = false});
  check_prompt(question.ids, config, file + ": line " + std::to_string(row.line) + ": the prompt");
  return question;
}

std::vector<Question> read_questions(const std::string& file, const text::RowEncoder& encoder,
                                     const formats::ModelConfig& config) {
  std::ifstream in = open_rows(file);
  text::DatasetLimits limits;
  limits.min_examples = 1;
  text::DatasetReader reader(in, limits);
  std::vector<Question> questions;
  while (std::optional<text::Row> row = reader.next()) questions.push_back(question_of(*row, file, encoder, config));
  const text::FaultList& faults = reader.faults();
  if (faults.count() > 0)
    refuse(file, faults.kept()[0].line, faults.kept()[0].message + " (" + std::to_string(faults.count()) + " faults in all)");
  return questions;
}

/// Where an answer ends.
std::vector<std::int32_t> stop_ids(const formats::ModelConfig& config, const text::Tokenizer& tokenizer) {
  std::vector<std::int32_t> ids = config.eos_token_ids;
  if (tokenizer.eos_id()) ids.push_back(*tokenizer.eos_id());
  return ids;
}

std::int64_t longest_prompt(const std::vector<Question>& questions) {
  std::size_t longest = 0;
  for (const Question& question : questions) longest = std::max(longest, question.ids.size());
  return static_cast<std::int64_t>(longest);
}

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

/// Each answer is the one that its question gets alone.
std::vector<Answered> answer_all(generate::AnyModel& model, const std::vector<Question>& questions, const generate::Request& request,
                                 const text::Tokenizer& tokenizer) {
  std::vector<generate::Prompt> prompts;
  for (const Question& question : questions) prompts.push_back({question.ids, request});
  const std::vector<generate::Answer> given = model.generate_together(prompts);
  std::vector<Answered> answers;
  for (std::size_t i = 0; i < questions.size(); ++i)
    answers.push_back({questions[i].prompt, questions[i].expected, trimmed(text::to_valid_utf8(tokenizer.decode(given[i].ids)))});
  return answers;
}

void evaluate(const EvaluateArguments& arguments) {
  const text::RowEncoder encoder(arguments.base);
  const formats::ModelConfig config = formats::read_model_config(arguments.base);
  const std::vector<Question> questions = read_questions(arguments.data, encoder, config);
  tensor::AnyDevice device(chosen_device(arguments.device), arguments.threads);
  generate::AnyModel model(device, {arguments.base, arguments.adapter}, config, longest_prompt(questions) + arguments.max_tokens,
                           std::clamp<std::int64_t>(static_cast<std::int64_t>(questions.size()), 1, kTogether));
  generate::Request request;
  request.max_tokens = arguments.max_tokens;
  request.stop_ids = stop_ids(config, encoder.tokenizer());
  const std::vector<Answered> answers = answer_all(model, questions, request, encoder.tokenizer());
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
      ->capture_default_str()->check(CLI::Range(1, 1 << 24));
  command.add_option("--show", arguments->show, "print the first so many rows with the model's answer")
      ->capture_default_str()->check(CLI::Range(0, 1 << 30));
  command.add_flag("--json", arguments->as_json, "print JSON");
  add_device_option(command, arguments->device);
  command.add_option("--threads", arguments->threads, "0: one a core")
      ->capture_default_str()->check(CLI::Range(0, 1024));
  command.callback([arguments] { evaluate(*arguments); });
}

}  // namespace finetuned::services
