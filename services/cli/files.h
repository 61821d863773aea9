#pragma once

#include <filesystem>
#include <string>

#include "base/json.h"
#include "services/cli/api_client.h"

namespace finetuned::cli {

/// A name to store a download under: the last part of `label` (another person's text) without control
/// characters; `otherwise` where nothing usable is left, or the name would be hidden.
std::string safe_file_name(const std::string& label, const std::string& otherwise);

/// Stores the file's content as `target`, with a progress bar. Throws UsageError where it exists and `force`
/// is false.
void download_file(ApiClient& api, const std::string& id, const std::filesystem::path& target, bool force);

/// The report of a dataset's check, for people: a summary line, then a line each fault.
std::string render_report(const base::json::value& report);

}  // namespace finetuned::cli
