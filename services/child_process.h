#pragma once

#include <map>
#include <string>
#include <vector>

namespace finetuned::services {

/// Runs a program of PATH to its end, with `variables` over this process's environment, its output going where ours goes.
/// Throws std::runtime_error naming it where it is not there, or ends with another status than 0.
void run_program(const std::vector<std::string>& words, const std::map<std::string, std::string>& variables);

}  // namespace finetuned::services
