#include "services/config_commands.h"

#include <CLI/CLI.hpp>
#include <iostream>

#include "base/config.h"

namespace finetuned::services {

void add_config_commands(CLI::App& app) {
  CLI::App* config = app.add_subcommand("config", "what can be configured");
  config->require_subcommand(1);
  config->add_subcommand("reference", "every key with its variable, default and bounds, as Markdown")->callback([] {
    std::cout << base::config_reference();
  });
  config->add_subcommand("sample", "a TOML file with every key at its default")->callback([] {
    std::cout << base::config_sample();
  });
}

}  // namespace finetuned::services
