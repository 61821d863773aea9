#include "services/role_commands.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "base/log.h"
#include "services/roles.h"
#include "services/supervisor.h"
#include "services/worker/ranks.h"

namespace finetuned::services {

namespace {

struct Role {
  const char* name;
  const char* help;
  int (*run)(const base::Settings&);
  bool supervised;
  bool reloads = false;
};

constexpr Role kRoles[] = {
    {"gateway", "answer the API over HTTP", run_gateway, true, true},
    {"intake", "check uploaded datasets and count their tokens", run_intake, true},
    {"scheduler", "wake the roles, admit jobs, take jobs back from dead workers", run_scheduler, true},
    {"worker", "train queued jobs", run_worker, true},
    {"metering", "settle what was left open and replay the ledger", run_metering, true},
    {"webhooks", "tell projects' webhook endpoints when jobs end; or, by a command behind it, a project's own endpoints", run_webhooks, true},
    {"migrate", "bring the database to this program's version, and end", run_migrate, false},
};

constexpr std::chrono::seconds kBeyondGateway{5};
constexpr std::chrono::seconds kShortestDrain{30};

int run_role(const Role& role, const ProgramOptions& options) {
  const base::Settings settings = options.settings();
  base::start_log(role.name, settings.log_level);
  return role.run(settings);
}

int serve(const ProgramOptions& options) {
  const base::Settings settings = options.settings();
  pool_options(settings, "serve", 1);  // a database must be named before anything starts
  SupervisorOptions supervisor;
  supervisor.program = std::filesystem::read_symlink("/proc/self/exe");
  supervisor.drain = std::max<std::chrono::milliseconds>(
      kShortestDrain, std::chrono::seconds(settings.gateway.drain_seconds) + kBeyondGateway);
  for (const Role& role : kRoles) {
    if (!role.supervised) continue;
    SupervisedRole supervised{.name = role.name, .arguments = {role.name}, .reloads = role.reloads};
    if (!options.config_file.empty()) {
      supervised.arguments.push_back("--config");
      supervised.arguments.push_back(std::filesystem::absolute(options.config_file).string());
    }
    supervisor.roles.push_back(std::move(supervised));
  }
  return supervise(supervisor);
}

/// What a worker begins for each further device of a job; nobody else has a use for it.
void add_rank_command(CLI::App& app, int& exit_status) {
  CLI::App& command = *app.add_subcommand("rank", "take part in a worker's job; a worker begins this")->group("");
  const auto arguments = std::make_shared<worker::RankArguments>();
  command.add_option("--rank", arguments->rank)->required()->check(CLI::Range(1, collective::kMostRanks - 1));
  command.add_option("--order", arguments->order)->required()->check(CLI::ExistingFile);
  command.add_option("--device", arguments->device)->required();
  command.add_option("--device-identity", arguments->device_identity)->required();
  command.add_option("--base-state", arguments->base_state)->required();
  command.add_option("--peer-timeout", arguments->peer_timeout_seconds)->required()->check(CLI::Range(1, 86'400));
  command.callback([arguments, &exit_status] { exit_status = worker::take_rank(*arguments); });
}

}  // namespace

void add_role_commands(CLI::App& app, const ProgramOptions& options, int& exit_status) {
  CLI::App& serve_command =
      *app.add_subcommand("serve", "run the whole platform: one process of each role, restarted when it dies");
  serve_command.callback([&] { exit_status = serve(options); });
  for (const Role& role : kRoles) {
    CLI::App& command = *app.add_subcommand(role.name, role.help);
    command.callback([&role, &command, &options, &exit_status] {
      if (command.get_subcommands().empty()) exit_status = run_role(role, options);  // else one of the API's ran
    });
  }
  add_rank_command(app, exit_status);
}

}  // namespace finetuned::services
