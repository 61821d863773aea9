#pragma once

namespace CLI {
class App;
}

namespace finetuned::services {

/// Adds `config reference` (docs/configuration.md) and `config sample` (a TOML file of all defaults), both read off the
/// configuration table.
void add_config_commands(CLI::App& app);

}  // namespace finetuned::services
