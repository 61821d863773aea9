#pragma once

namespace CLI {
class App;
}

namespace finetuned::services {

/// Adds `evaluate`, which needs no platform: it lets a model, with or without an adapter, answer the last assistant turn of
/// every row of a dataset (greedy, through the model's chat template) and counts the answers that equal the row's,
/// white space around them aside.
///
/// The command runs while `app` parses, and prints `exact match: 43/50 (86.0%)` to stdout (`--json`: an object). It throws
/// UsageError for what is wrong on the command line or in the dataset, FormatError for a bad model or adapter.
void add_evaluate_command(CLI::App& app);

}  // namespace finetuned::services
