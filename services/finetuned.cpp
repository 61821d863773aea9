#include <CLI/CLI.hpp>
#include <iostream>
#include <new>
#include <stdexcept>

#include "base/errors.h"
#include "base/files.h"
#include "services/cli/api_commands.h"
#include "services/cli/output.h"
#include "services/config_commands.h"
#include "services/doctor_command.h"
#include "services/engine_commands.h"
#include "services/evaluate_command.h"
#include "services/fresh_model_commands.h"
#include "services/operator_commands.h"
#include "services/role_commands.h"

namespace {

constexpr int kFailed = 1;   // it went wrong on the way
constexpr int kRefused = 2;  // what was asked for cannot be: change it

int complain(const std::exception& error, int status) {
  std::cerr << "finetuned: " << error.what() << "\n";
  return status;
}

/// A refusal that only another request can mend is the asker's to mend.
int status_of(const finetuned::base::ApiError& error) {
  return error.status >= 400 && error.status < 500 && error.status != 408 && error.status != 429 ? kRefused
                                                                                                 : kFailed;
}

int printed(CLI::App& app, const CLI::Success& request) {
  const int status = app.exit(request);
  try {
    finetuned::cli::flush_output();
  } catch (const std::runtime_error& error) {
    return complain(error, kFailed);
  }
  return status;
}

int run(CLI::App& app, int argc, char** argv, const int& role_status) {
  try {
    app.parse(argc, argv);
    finetuned::cli::flush_output();
    return role_status;
  } catch (const CLI::Success& request) {  // --help, --version
    return printed(app, request);
  } catch (const CLI::ParseError& error) {
    const auto rest = app.remaining();
    if (app.get_subcommands().empty() && !rest.empty())  // CLI11 would only say that a command is missing
      return complain(finetuned::base::UsageError("there is no command '" + rest.front() + "' (see --help)"),
                      kRefused);
    std::cerr << "finetuned: " << error.what() << " (see --help)\n";
    return kRefused;
  } catch (const finetuned::base::ApiError& error) {
    return complain(error, status_of(error));
  } catch (const finetuned::base::UsageError& error) {
    return complain(error, kRefused);
  } catch (const finetuned::base::FormatError& error) {
    return complain(error, kRefused);
  } catch (const std::bad_alloc&) {
    return complain(std::runtime_error("there is not enough memory"), kFailed);
  } catch (const std::exception& error) {
    return complain(error, kFailed);
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace finetuned;
  cli::hold_standard_streams();
  CLI::App app("finetuned: fine-tuning as a service on your own machines, and the engine behind it",
               "finetuned");
  app.set_version_flag("--version", "finetuned " FINETUNED_VERSION);
  app.require_subcommand(1);
  app.fallthrough();  // --config may stand behind the command
  app.footer("Exit status: 0 done, 1 something went wrong, 2 the request has to be changed.");
  services::ProgramOptions options;
  int role_status = 0;
  app.add_option("--config", options.config_file,
                 "the configuration (TOML) of the roles and of models, admin, ledger; FINETUNED_* variables "
                 "override it")
      ->envname("FINETUNED_CONFIG");
  services::add_role_commands(app, options, role_status);
  services::add_operator_commands(app, options);
  services::add_config_commands(app);
  services::add_doctor_command(app, options, role_status);
  services::add_fresh_model_commands(app);
  services::add_engine_commands(app);
  services::add_evaluate_command(app);
  cli::add_api_commands(app);
  return run(app, argc, argv, role_status);
}
