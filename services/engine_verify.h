#pragma once

#include <filesystem>

namespace finetuned::services {

/// `finetuned train --verify-resume KILLS`, by this process's own command line: trains once whole into `out`, and beside it
/// once more with a state kept at each step, killed (SIGKILL) `kills` times at random moments and begun again. Prints each
/// kill, and whether adapter, optimizer and step metrics came out in the same bytes. Throws std::runtime_error where they
/// differ, where a run fails, or where it was too short to be killed.
void verify_resume(int kills, const std::filesystem::path& out);

}  // namespace finetuned::services
