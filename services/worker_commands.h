#pragma once

#include "services/parts.h"

namespace CLI {
class App;
}

namespace finetuned::services {

/// `admin workers`: who trains, and donated machines. As the operator's other commands (operator_commands.h).
void add_worker_commands(CLI::App& admin, const ProgramOptions& options);

}  // namespace finetuned::services
