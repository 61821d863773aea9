#pragma once

#include <memory>
#include <string>

#include "base/json.h"
#include "services/cli/api_client.h"

namespace CLI {
class App;
}

namespace finetuned::cli {

/// What every command that talks to the API takes.
struct ApiOptions {
  std::string url;
  std::string key;
  std::string ca_file;
  bool json = false;  ///< print the API's JSON instead of a table

  ApiClient connect() const { return ApiClient(url, key, ca_file); }
};

/// Adds `--url`, `--key`, `--ca-file` and `--json` to `command`. Shared with the command's callback, which outlives this
/// call.
std::shared_ptr<ApiOptions> add_api_options(CLI::App& command);

void print_json(const base::json::value& value);

/// A page of a list, `limit` and `after` as the API takes them; empty `after` starts at the first.
std::string page_of(const std::string& path, int limit, const std::string& after);

void add_files_commands(CLI::App& app);
void add_jobs_commands(CLI::App& app);
void add_balance_command(CLI::App& app);
/// Below the role of that name where `app` has it: alone, `webhooks` is the role.
void add_webhooks_commands(CLI::App& app);
void add_challenges_commands(CLI::App& app);

}  // namespace finetuned::cli
