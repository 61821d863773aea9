#pragma once

#include <filesystem>
#include <functional>
#include <string>

namespace finetuned::base {

/// The secret kept in `file`, made by `make` when there is none yet (mode 0600, durable): of several processes that make it
/// at once, all get the first one's. At most 4 KB. Throws UsageError where the file is open to others, with `remedy` behind
/// "chmod 600 it", and FileError.
std::string load_or_create_secret(const std::filesystem::path& file, const std::function<std::string()>& make,
                                  const std::string& remedy);

}  // namespace finetuned::base
