#pragma once

#include "base/settings.h"

namespace finetuned::services {

// Each role, built and run until it is drained. They return the process's exit status and throw ConfigError for what
// their settings cannot mean. A role waits for a database that is away or not migrated yet. Call one from `main`,
// before any thread is started.
int run_gateway(const base::Settings& settings);
int run_intake(const base::Settings& settings);
int run_scheduler(const base::Settings& settings);
int run_worker(const base::Settings& settings);
int run_metering(const base::Settings& settings);
int run_webhooks(const base::Settings& settings);

/// Brings the database to this program's version. Returns 0.
int run_migrate(const base::Settings& settings);

}  // namespace finetuned::services
