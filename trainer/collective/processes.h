#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "trainer/collective/collective.h"

namespace finetuned::collective {

/// Runs `work` in `size` processes of this machine, 1 to kMostRanks: rank 0 in this one, the others in
/// children that fork() makes, so what the caller read before is theirs too without being copied. To be
/// called while the process has one thread. Children end with their parent whatever ends it, never return
/// from here, and run no destructors of the caller's; those that still run when rank 0 is done or has failed
/// are ended. One that the system does not end within half a minute, for it hangs in a driver, is left, which the log says.
///
/// Throws what rank 0's `work` throws. A child's failure reaches rank 0 in its next operation, as PeerLost
/// that names the rank, the process and how it ended (as UsageError where that is what the child threw).
void run_processes(int size, std::chrono::milliseconds timeout, const std::function<void(Collective&)>& work);

/// A program's file and its arguments.
struct Command {
  std::filesystem::path program;
  std::vector<std::string> arguments;
};

/// As run_processes(), for a process that has threads or works on a GPU already: ranks 1, 2, ... are programs begun anew,
/// each by `command(rank)`, which call take_part(). They have this process's environment and standard streams and no other
/// descriptor, and end with the thread that called this. `watch` is called about every 100 ms that rank 0 waits for the others,
/// on its thread; what it throws ends the group. Throws std::system_error where one cannot be begun.
void run_programs(int size, std::chrono::milliseconds timeout, const std::function<Command(int rank)>& command,
                  const std::function<void(Collective&)>& work, const std::function<void(Collective&)>& watch = {});

/// What a program that run_programs() began does: `work`, as that rank, deaf to SIGINT and SIGTERM, for rank 0 decides, and
/// ended with the process that began it. The exit status: 0, or 1 after a failure, of which rank 0 hears. Throws
/// std::system_error where nothing began it.
int take_part(int rank, std::chrono::milliseconds timeout, const std::function<void(Collective&)>& work);

}  // namespace finetuned::collective
