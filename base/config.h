#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace finetuned::base {

struct Settings;

/// One row of the configuration table: everything that is known of a key. The parser, the reference page
/// (docs/configuration.md) and the sample file are all read off it.
struct ConfigKey {
  enum class Type { kText, kInteger, kNumber, kFlag };

  std::string_view name;  ///< `section.key` in TOML; FINETUNED_SECTION_KEY in the environment
  Type type;
  std::string_view default_text;
  std::optional<double> least, most;  ///< bounds of kInteger and kNumber, inclusive
  bool secret;                        ///< never printed
  std::string_view help;
  std::function<void(Settings&, const std::string& text)> assign;  ///< `text` is already checked
};

/// The table, in the order of the reference page.
const std::vector<ConfigKey>& config_table();

/// The TOML sample with every key at its default, and the Markdown reference: both generated, a test compares docs/.
std::string config_sample();
std::string config_reference();

}  // namespace finetuned::base
