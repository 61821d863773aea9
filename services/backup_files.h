#pragma once

#include <filesystem>
#include <string>

#include "base/files.h"

namespace finetuned::services {

/// Throws FileError.
base::FileDescriptor open_for_reading(const std::filesystem::path& path);
void sync_file(const base::FileDescriptor& file, const std::filesystem::path& path);
/// Seen whole or not at all. Returns its SHA-256 in hex.
std::string copy_file_durably(const std::filesystem::path& from, const std::filesystem::path& to, unsigned mode = 0644);

}  // namespace finetuned::services
