#pragma once

namespace CLI {
class App;
}

namespace finetuned::services {

/// Adds `doctor`, which says what this program can compute on here.
void add_doctor_command(CLI::App& app);

}  // namespace finetuned::services
