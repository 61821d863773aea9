#pragma once

#include <chrono>
#include <filesystem>
#include <string>
#include <vector>

namespace finetuned::services {

/// One process that the supervisor keeps alive: `program ARGUMENTS...`.
struct SupervisedRole {
  std::string name;  ///< stands before each of its log lines
  std::vector<std::string> arguments;
  bool reloads = false;  ///< a SIGHUP to the supervisor is passed on to it
};

struct SupervisorOptions {
  std::filesystem::path program;  ///< absolute; what each role executes
  std::vector<SupervisedRole> roles;
  std::chrono::milliseconds drain{30'000};          ///< from SIGTERM until what still lives is killed
  std::chrono::milliseconds first_backoff{250};     ///< before a restart; doubles with each quick death ...
  std::chrono::milliseconds longest_backoff{15'000};  ///< ... up to this
  std::chrono::milliseconds steady_after{10'000};   ///< a child that lived this long starts the backoff afresh
  int log_descriptor = 2;                           ///< where the children's lines go
};

/// Starts every role as its own process, forwards their output line by line with the role's name before it, and
/// restarts what dies. SIGTERM or SIGINT drains: each child gets SIGTERM, and SIGKILL at the deadline; a second signal
/// kills at once. SIGHUP is passed on to the roles that reload, and touches no other. A child is killed by the kernel when the supervisor itself dies (PR_SET_PDEATHSIG), so that no
/// orphan keeps a port or a lease.
///
/// Returns 0 when all drained, 1 when one had to be killed, and 2 when a role left with 2 (its configuration is
/// wrong, so that a restart cannot help; the others are drained first). Call it from the only thread of the process.
/// Throws std::system_error where signals cannot be watched.
int supervise(const SupervisorOptions& options);

}  // namespace finetuned::services
