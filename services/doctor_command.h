#pragma once

namespace CLI {
class App;
}

namespace finetuned::services {

struct ProgramOptions;

/// Adds `doctor`, which says what this program can compute on here, and, where the configuration names a certificate,
/// whether a gateway could use it now. `options` and `exit_status`, 1 where it could not, outlive `app`.
void add_doctor_command(CLI::App& app, const ProgramOptions& options, int& exit_status);

}  // namespace finetuned::services
