#pragma once

namespace CLI {
class App;
}

namespace finetuned::services {

/// Adds the commands that make a model from nothing, ready for `train --full`; they need no platform:
///
///   tokenizer train --text FILE --vocabulary N --out DIR [--chat-template FILE]
///       a byte-level BPE tokenizer (tokenizer.json, tokenizer_config.json)
///   models init --config FILE --tokenizer DIR --seed N --out DIR [--deviation D]
///       a Hugging Face directory with fresh weights; joins the `models` command where `app` has one already
///
/// A chosen command runs while `app` parses and writes the same bytes for the same input. It throws UsageError for what
/// is wrong on the command line and FormatError for a bad file.
void add_fresh_model_commands(CLI::App& app);

}  // namespace finetuned::services
