#pragma once

#include "services/parts.h"

namespace CLI {
class App;
}

namespace finetuned::services {

/// Adds the commands that run the platform: `serve` and one for each role (`gateway`, `intake`, `scheduler`, `worker`,
/// `metering`), which return once drained after SIGTERM or SIGINT, and `migrate`. A chosen command runs while `app`
/// parses; its exit status goes to `exit_status`. Both references outlive `app`.
void add_role_commands(CLI::App& app, const ProgramOptions& options, int& exit_status);

}  // namespace finetuned::services
