#pragma once

namespace CLI {
class App;
}

namespace finetuned::services {

/// Adds the engine's own commands, which need no server: `train`, `generate` and `tokenize`.
///
/// A chosen command runs while `app` parses, writes its result to stdout and progress to stderr. It throws UsageError
/// for what is wrong on the command line or in a dataset, FormatError for a bad model, adapter or tokenizer, and leaves
/// nothing half-made then.
void add_engine_commands(CLI::App& app);

}  // namespace finetuned::services
