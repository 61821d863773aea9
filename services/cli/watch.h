#pragma once

#include <string>

#include "base/json.h"
#include "services/cli/api_client.h"

namespace finetuned::cli {

/// Follows a job until it ends: a live bar on a terminal, a line now and then elsewhere, and every message
/// event. Returns the ended job. Ctrl-C says that the job goes on, and ends this process as Ctrl-C does. An
/// absent platform is waited for, up to a minute at a time. Throws like ApiClient.
base::json::value watch_job(ApiClient& api, const std::string& job_id);

/// What the bar says after the bar itself: step, loss, tokens a second, time left.
std::string describe_step(const base::json::value& metrics, double seconds_left);

bool has_ended(const base::json::value& job);

}  // namespace finetuned::cli
