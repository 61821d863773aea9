#include "services/cli/options.h"

#include <CLI/CLI.hpp>
#include <boost/json/serialize.hpp>
#include <iostream>

#include "services/cli/api_commands.h"

namespace finetuned::cli {

std::shared_ptr<ApiOptions> add_api_options(CLI::App& command) {
  auto options = std::make_shared<ApiOptions>();
  command.add_option("--url", options->url, "the platform's address, such as http://127.0.0.1:8080")
      ->envname("FINETUNED_URL");
  command
      .add_option("--key", options->key,
                  "the project's API key; the variable keeps it out of the process list")
      ->envname("FINETUNED_API_KEY");
  command
      .add_option("--ca-file", options->ca_file,
                  "certificates (PEM) that an https platform is trusted by, beside the system's")
      ->envname("FINETUNED_CA_FILE");
  command.add_flag("--json", options->json, "print the API's answer as JSON");
  return options;
}

void print_json(const base::json::value& value) {
  std::cout << boost::json::serialize(value) << "\n";
}

std::string page_of(const std::string& path, int limit, const std::string& after) {
  std::string page = path + "?limit=" + std::to_string(limit);
  if (!after.empty()) page += "&after=" + ApiClient::escape(after);
  return page;
}

void add_api_commands(CLI::App& app) {
  add_files_commands(app);
  add_jobs_commands(app);
  add_balance_command(app);
  add_webhooks_commands(app);
  add_challenges_commands(app);
}

}  // namespace finetuned::cli
