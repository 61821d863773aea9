#pragma once

namespace CLI {
class App;
}

namespace finetuned::services {

struct ProgramOptions;

/// Adds `doctor`, which says what this program can compute on here, and, where the configuration names a certificate,
/// whether a gateway could use it now, and, where it names a database, what is wrong with the platform (doctor_checks.h). `options` and `exit_status`, 1 where something is wrong, outlive `app`.
void add_doctor_command(CLI::App& app, const ProgramOptions& options, int& exit_status);

}  // namespace finetuned::services
