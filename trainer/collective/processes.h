#pragma once

#include <chrono>
#include <functional>

#include "trainer/collective/collective.h"

namespace finetuned::collective {

/// Runs `work` in `size` processes of this machine, 1 to kMostRanks: rank 0 in this one, the others in
/// children that fork() makes, so what the caller read before is theirs too without being copied. To be
/// called while the process has one thread. Children end with their parent whatever ends it, never return
/// from here, and run no destructors of the caller's; those that still run when rank 0 is done or has failed
/// are ended.
///
/// Throws what rank 0's `work` throws. A child's failure reaches rank 0 in its next operation, as PeerLost
/// that names the rank, the process and how it ended (as UsageError where that is what the child threw).
void run_processes(int size, std::chrono::milliseconds timeout, const std::function<void(Collective&)>& work);

}  // namespace finetuned::collective
