#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>

#include "base/errors.h"
#include "services/cli/bill.h"
#include "services/cli/files.h"
#include "services/cli/job_request.h"
#include "services/cli/options.h"
#include "services/cli/render.h"
#include "services/cli/watch.h"

namespace finetuned::cli {

namespace json = base::json;

namespace {

constexpr const char* kJobs = "/fine_tuning/jobs";

std::string job_path(const std::string& id) {
  return std::string(kJobs) + "/" + ApiClient::escape(id);
}

std::vector<std::string> result_files(const json::value& job) {
  std::vector<std::string> ids;
  const json::value* list = job.as_object().if_contains("result_files");
  if (!list || !list->is_array()) return ids;
  for (const json::value& id : list->get_array())
    if (id.is_string()) ids.emplace_back(id.get_string());
  return ids;
}

/// The job, and its result files by name.
std::string describe_job(ApiClient& api, const json::value& job) {
  std::vector<std::vector<std::string>> rows{{"job", cell(job, "id")},
                                             {"status", cell(job, "status")},
                                             {"model", cell(job, "model")},
                                             {"created", format_time(integer_of(job, "created_at")) + " UTC"},
                                             {"training file", cell(job, "training_file")},
                                             {"seed", cell(job, "seed")},
                                             {"trained tokens", cell(job, "trained_tokens")},
                                             {"tuned model", cell(job, "fine_tuned_model")}};
  const json::value* queue = job.as_object().if_contains("queue");
  if (queue && queue->is_object()) rows.push_back({"waits", text_of(*queue, "message")});
  const json::value* error = job.as_object().if_contains("error");
  if (error && error->is_object() && !text_of(*error, "message").empty())
    rows.push_back({"error", cell(*error, "message") + " (" + cell(*error, "code") + ")"});
  for (const std::string& id : result_files(job)) {
    const json::value file = api.get("/files/" + ApiClient::escape(id));
    rows.push_back(
        {"result", id + "  " + cell(file, "filename") + "  " + format_bytes(integer_of(file, "bytes"))});
  }
  return render_table(rows);
}

/// Prints an ended job; throws where it did not succeed, so that the exit status says so.
void print_end(ApiClient& api, const json::value& job, bool as_json) {
  if (as_json) {
    print_json(job);
  } else {
    std::cout << describe_job(api, job);
  }
  const std::string status = text_of(job, "status");
  if (status != "succeeded") throw std::runtime_error(text_of(job, "id") + " " + status);
}

void add_request_options(CLI::App& command, JobRequest& request) {
  command.add_option_function<std::string>(
      "--method", [&request](const std::string& file) { request.method = read_method(file); },
      "a JSON file with the API's `method` object; the options here go over its hyperparameters");
  command.add_option("--model", request.model, "the base model, see GET /v1/models")->required();
  command.add_option("--training-file", request.training_file, "id of an uploaded file")->required();
  command.add_option("--validation-file", request.validation_file, "id of an uploaded file to measure on");
  command.add_option("--suffix", request.suffix, "a part of the tuned model's name");
  command.add_option("--seed", request.seed, "the same seed and data give the same adapter");
  command.add_option("--priority", request.priority, "-10 to 10: which of the project's own jobs comes first");
  command.add_option("--payment", request.payment, "usd, points or points_then_usd");
  command.add_option("--metadata", request.metadata, "name=value; more than one may be given");
  command.add_option("--epochs", request.epochs, "passes over the data");
  command.add_option("--batch-size", request.batch_size, "rows an optimizer step");
  command.add_option("--learning-rate", request.learning_rate, "the peak learning rate");
  command.add_option("--lr-scheduler", request.lr_scheduler, "linear, cosine or constant");
  command.add_option("--warmup-ratio", request.warmup_ratio, "share of the steps that warm up");
  command.add_option("--weight-decay", request.weight_decay, "decoupled weight decay");
  command.add_option("--max-grad-norm", request.max_grad_norm, "clip the gradient's global norm; 0 does not");
  command.add_option("--lora-rank", request.lora_rank, "rank of the adapter");
  command.add_option("--lora-alpha", request.lora_alpha, "its scale is alpha / rank");
  command.add_option("--lora-dropout", request.lora_dropout, "dropout on the adapter's input");
  command.add_option("--target-modules", request.target_modules, "which linear layers get an adapter")
      ->delimiter(',');
  command.add_flag("--use-rslora", request.use_rslora, "scale by alpha / sqrt(rank)");
  command.add_option("--max-seq-length", request.max_seq_length, "cut longer rows to this many tokens");
  command.add_option("--checkpoint-steps", request.checkpoint_steps, "a checkpoint each so many steps");
  command.add_flag("--train-on-inputs", request.train_on_inputs, "learn the prompts, too");
}

void add_create(CLI::App& jobs) {
  CLI::App& command = *jobs.add_subcommand("create", "train an adapter on an uploaded file");
  struct Flags {
    bool watch = false, quiet = false;
  };
  auto request = std::make_shared<JobRequest>();
  auto flags = std::make_shared<Flags>();
  auto options = add_api_options(command);
  add_request_options(command, *request);
  command.add_flag("--watch", flags->watch, "stay until the job has ended");
  command.add_flag("--quiet,-q", flags->quiet, "print the job's id alone");
  command.callback([request, flags, options] {
    ApiClient api = options->connect();
    const json::value job = api.post(kJobs, job_body(*request));
    if (flags->watch) return print_end(api, watch_job(api, text_of(job, "id")), options->json);
    if (options->json) return print_json(job);
    std::cout << (flags->quiet ? text_of(job, "id") + "\n" : describe_job(api, job));
  });
}

void add_list(CLI::App& jobs) {
  CLI::App& command = *jobs.add_subcommand("list", "the project's jobs, newest first");
  struct Arguments {
    int limit = 20;
    std::string after;
  };
  auto arguments = std::make_shared<Arguments>();
  auto options = add_api_options(command);
  command.add_option("--limit", arguments->limit, "how many")
      ->capture_default_str()
      ->check(CLI::Range(1, 100));
  command.add_option("--after", arguments->after, "go on after this job id");
  command.callback([arguments, options] {
    ApiClient api = options->connect();
    const json::value list = api.get(page_of(kJobs, arguments->limit, arguments->after));
    if (options->json) return print_json(list);
    std::vector<std::vector<std::string>> rows{
        {"ID", "CREATED (UTC)", "STATUS", "MODEL", "TOKENS", "TUNED MODEL"}};
    for (const json::value& job : list.at("data").as_array())
      rows.push_back({cell(job, "id"), format_time(integer_of(job, "created_at")), cell(job, "status"),
                      cell(job, "model"), cell(job, "trained_tokens"), cell(job, "fine_tuned_model")});
    std::cout << render_table(rows);
  });
}

/// A command on one job: `act` gets the API, the id and whether JSON is wanted.
template <typename Act>
void add_on_one_job(CLI::App& jobs, const char* name, const char* help, Act act) {
  CLI::App& command = *jobs.add_subcommand(name, help);
  auto id = std::make_shared<std::string>();
  auto options = add_api_options(command);
  command.add_option("id", *id, "the job's id")->required();
  command.callback([id, options, act] {
    ApiClient api = options->connect();
    act(api, *id, options->json);
  });
}

void add_download(CLI::App& jobs) {
  CLI::App& command =
      *jobs.add_subcommand("download", "store a succeeded job's adapter, metrics and manifest");
  struct Arguments {
    std::string id, into = ".";
    bool force = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto options = add_api_options(command);
  command.add_option("id", arguments->id, "the job's id")->required();
  command.add_option("--into", arguments->into, "the directory to store them in")->capture_default_str();
  command.add_flag("--force", arguments->force, "overwrite what is there");
  command.callback([arguments, options] {
    ApiClient api = options->connect();
    const json::value job = api.get(job_path(arguments->id));
    const std::vector<std::string> ids = result_files(job);
    if (ids.empty())
      throw std::runtime_error(arguments->id + " has no result files: it is " + text_of(job, "status"));
    std::filesystem::create_directories(arguments->into);
    for (const std::string& id : ids) {
      const json::value file = api.get("/files/" + ApiClient::escape(id));
      const std::filesystem::path target =
          std::filesystem::path(arguments->into) / safe_file_name(text_of(file, "filename"), id);
      download_file(api, id, target, arguments->force);
      if (!options->json) std::cout << target.string() << "\n";
    }
    if (options->json) print_json(job);
  });
}

}  // namespace

void add_jobs_commands(CLI::App& app) {
  CLI::App& jobs = *app.add_subcommand("jobs", "fine-tuning jobs");
  jobs.require_subcommand(1);
  add_create(jobs);
  add_list(jobs);
  add_on_one_job(jobs, "show", "one job and its results",
                 [](ApiClient& api, const std::string& id, bool as_json) {
                   const json::value job = api.get(job_path(id));
                   if (as_json) return print_json(job);
                   std::cout << describe_job(api, job);
                 });
  add_on_one_job(jobs, "watch", "follow a job to its end; exit 1 where it does not succeed",
                 [](ApiClient& api, const std::string& id, bool as_json) {
                   print_end(api, watch_job(api, id), as_json);
                 });
  add_on_one_job(jobs, "cancel", "stop a job; committed steps are paid, the rest is not",
                 [](ApiClient& api, const std::string& id, bool as_json) {
                   const json::value job = api.post(job_path(id) + "/cancel", json::object());
                   if (as_json) return print_json(job);
                   std::cout << id << " is " << cell(job, "status") << "\n";
                 });
  add_on_one_job(jobs, "bill", "what a job held, was charged, and got back",
                 [](ApiClient& api, const std::string& id, bool as_json) {
                   const json::value job = api.get(job_path(id));
                   const json::array transfers = transfers_of(api, id);
                   if (as_json) return print_json(transfers);
                   std::cout << render_bill(job, transfers);
                 });
  add_download(jobs);
}

}  // namespace finetuned::cli
