#include <CLI/CLI.hpp>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <thread>

#include "base/errors.h"
#include "services/cli/files.h"
#include "services/cli/options.h"
#include "services/cli/progress.h"
#include "services/cli/render.h"

namespace finetuned::cli {

namespace json = base::json;

namespace {

constexpr std::chrono::milliseconds kPollEvery{250};
constexpr std::chrono::minutes kCheckLimit{30};

std::string file_path(const std::string& id) {
  return "/files/" + ApiClient::escape(id);
}

void print_faults(ApiClient& api, const std::string& id) {
  std::cerr << render_report(api.get(file_path(id) + "/report"));
}

/// Asks until the dataset was checked. Prints its faults and throws where it has any.
json::value wait_until_checked(ApiClient& api, const std::string& id) {
  const auto give_up = std::chrono::steady_clock::now() + kCheckLimit;
  ProgressLine progress;
  for (;;) {
    const json::value file = api.get(file_path(id));
    const std::string status = text_of(file, "status");
    if (status == "processed") return file;
    if (status == "error") {
      print_faults(api, id);
      throw base::UsageError(id + " cannot be trained on: " + printable(text_of(file, "status_details")));
    }
    if (std::chrono::steady_clock::now() > give_up)
      throw std::runtime_error(id + " is still not checked after 30 minutes: is the intake role running?");
    progress.show("checking " + id);
    std::this_thread::sleep_for(kPollEvery);
  }
}

void add_upload(CLI::App& files) {
  CLI::App& command =
      *files.add_subcommand("upload", "send a dataset (JSONL) and, with --wait, see it checked");
  struct Arguments {
    std::string path, purpose = "fine-tune";
    bool wait = false, quiet = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto options = add_api_options(command);
  command.add_option("path", arguments->path, "the file to send")->required();
  command.add_option("--purpose", arguments->purpose, "what the file is for")->capture_default_str();
  command.add_flag("--wait", arguments->wait,
                   "return when the dataset is checked; exit 2 with its faults if it has any");
  command.add_flag("--quiet,-q", arguments->quiet, "print the file's id alone");
  command.callback([arguments, options] {
    ApiClient api = options->connect();
    json::value file;
    {
      ProgressLine progress;
      const bool visible = progress.on_terminal();
      file = api.upload(arguments->path, arguments->purpose, [&](std::int64_t sent, std::int64_t total) {
        if (!visible || total <= 0) return;
        const double fraction = static_cast<double>(sent) / static_cast<double>(total);
        progress.show("uploading " + render_bar(fraction, 30) + " " + format_bytes(sent) + " of " +
                      format_bytes(total));
      });
    }
    if (arguments->wait) file = wait_until_checked(api, text_of(file, "id"));
    if (options->json) return print_json(file);
    if (arguments->quiet) {
      std::cout << text_of(file, "id") << "\n";
    } else {
      std::cout << render_table({{"ID", "STATUS", "SIZE", "NAME"},
                                 {cell(file, "id"), cell(file, "status"),
                                  format_bytes(integer_of(file, "bytes")), cell(file, "filename")}});
    }
  });
}

void add_list(CLI::App& files) {
  CLI::App& command = *files.add_subcommand("list", "the project's files, newest first");
  struct Arguments {
    int limit = 20;
    std::string after;
  };
  auto arguments = std::make_shared<Arguments>();
  auto options = add_api_options(command);
  command.add_option("--limit", arguments->limit, "how many")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  command.add_option("--after", arguments->after, "go on after this file id");
  command.callback([arguments, options] {
    ApiClient api = options->connect();
    const json::value list = api.get(page_of("/files", arguments->limit, arguments->after));
    if (options->json) return print_json(list);
    std::vector<std::vector<std::string>> rows{{"ID", "CREATED (UTC)", "STATUS", "SIZE", "PURPOSE", "NAME"}};
    for (const json::value& file : list.at("data").as_array())
      rows.push_back({cell(file, "id"), format_time(integer_of(file, "created_at")), cell(file, "status"),
                      format_bytes(integer_of(file, "bytes")), cell(file, "purpose"),
                      cell(file, "filename")});
    std::cout << render_table(rows);
  });
}

void add_download(CLI::App& files) {
  CLI::App& command = *files.add_subcommand("download", "store a file's content");
  struct Arguments {
    std::string id, output;
    bool force = false;
  };
  auto arguments = std::make_shared<Arguments>();
  auto options = add_api_options(command);
  command.add_option("id", arguments->id, "the file's id")->required();
  command.add_option("--output,-o", arguments->output,
                     "where to store it; its own name in this directory otherwise");
  command.add_flag("--force", arguments->force, "overwrite what is there");
  command.callback([arguments, options] {
    ApiClient api = options->connect();
    const json::value file = api.get(file_path(arguments->id));
    const std::filesystem::path target = arguments->output.empty()
                                             ? safe_file_name(text_of(file, "filename"), arguments->id)
                                             : arguments->output;
    download_file(api, arguments->id, target, arguments->force);
    if (options->json) return print_json(file);
    std::cout << target.string() << "\n";
  });
}

/// `report`, `delete`: one id in, one answer out.
void add_report_and_delete(CLI::App& files) {
  CLI::App& report =
      *files.add_subcommand("report", "what the check of a dataset found: every fault with its line");
  auto report_id = std::make_shared<std::string>();
  auto report_options = add_api_options(report);
  report.add_option("id", *report_id, "the file's id")->required();
  report.callback([report_id, report_options] {
    ApiClient api = report_options->connect();
    const json::value answer = api.get(file_path(*report_id) + "/report");
    if (report_options->json) return print_json(answer);
    std::cout << render_report(answer);
  });

  CLI::App& remove = *files.add_subcommand("delete", "delete a file");
  auto remove_id = std::make_shared<std::string>();
  auto remove_options = add_api_options(remove);
  remove.add_option("id", *remove_id, "the file's id")->required();
  remove.callback([remove_id, remove_options] {
    ApiClient api = remove_options->connect();
    const json::value answer = api.remove(file_path(*remove_id));
    if (remove_options->json) return print_json(answer);
    std::cout << "deleted " << *remove_id << "\n";
  });
}

}  // namespace

std::string safe_file_name(const std::string& label, const std::string& otherwise) {
  const std::string name = printable(label.substr(label.find_last_of("/\\") + 1));  // npos + 1 is 0
  return name.empty() || name.front() == '.' ? otherwise : name;
}

void download_file(ApiClient& api, const std::string& id, const std::filesystem::path& target, bool force) {
  if (!force && std::filesystem::exists(target))
    throw base::UsageError(target.string() + " exists: give another --output, or --force to overwrite it");
  ProgressLine progress;
  api.download(file_path(id) + "/content", target, [&](std::int64_t got, std::int64_t total) {
    if (!progress.on_terminal() || total <= 0) return;
    const double fraction = static_cast<double>(got) / static_cast<double>(total);
    progress.show("downloading " + render_bar(fraction, 30) + " " + format_bytes(got) + " of " +
                  format_bytes(total));
  });
}

void add_files_commands(CLI::App& app) {
  CLI::App& files = *app.add_subcommand("files", "datasets in, adapters out");
  files.require_subcommand(1);
  add_upload(files);
  add_list(files);
  add_download(files);
  add_report_and_delete(files);
}

}  // namespace finetuned::cli
