#pragma once

namespace CLI {
class App;
}

namespace finetuned::cli {

/// Adds the commands that talk to a running platform over its API: `files`, `jobs`, `balance`, `challenges`, `points` and
/// `webhooks` (below the role of that name).
///
/// A chosen command runs while `app` parses. It asks the API at FINETUNED_URL (or `--url`) with
/// FINETUNED_API_KEY (or
/// `--key`), writes its result to stdout (`--json`: the API's own JSON) and progress to stderr. It throws
/// UsageError for what is wrong on the command line, ApiError with the API's message for a refusal, and
/// std::runtime_error for what went wrong on the way, a failed job included.
void add_api_commands(CLI::App& app);

/// Adds `challenges` to the operator's `admin`: the same, with FINETUNED_ADMIN_KEY.
void add_admin_challenges_commands(CLI::App& admin);

}  // namespace finetuned::cli
