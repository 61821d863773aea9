#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "storage/postgres/transaction.h"

namespace finetuned::billing {

/// Ends jobs of archived projects, whom nobody could cancel any more: what waits ends here with its hold, what runs is told to stop, and
/// pays what it committed. At most `most`, oldest first, of one project or of all; how many. Fewer than `most`: nothing is left but what
/// others have locked, which with a project is waited for. To be called until then, each time in a transaction of its own; calling it again is
/// harmless, so that whoever comes later finishes what a crash left. System scope.
std::size_t end_archived_jobs(postgres::Transaction& tx, const std::optional<std::string>& project_id, int most);

}  // namespace finetuned::billing
