#define TOML_EXCEPTIONS 1
#include "base/config.h"

#include <toml++/toml.h>
#include <unistd.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <map>
#include <sstream>

#include "base/errors.h"
#include "base/settings.h"

extern char** environ;

namespace finetuned::base {

namespace {

using Texts = std::map<std::string, std::string>;  // key -> value as text

std::string environment_name(std::string_view key) {
  std::string name = "FINETUNED_";
  for (const char c : key) name += c == '.' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

const ConfigKey* find_key(std::string_view name) {
  for (const ConfigKey& key : config_table())
    if (key.name == name) return &key;
  return nullptr;
}

/// Variables that are not the configuration's own: the command line's, and the tests'.
bool is_reserved_variable(std::string_view name) {
  return name == "FINETUNED_URL" || name == "FINETUNED_API_KEY" || name == "FINETUNED_ADMIN_KEY" ||
         name == "FINETUNED_CA_FILE" || name == "FINETUNED_CONFIG" || name.starts_with("FINETUNED_TEST_");
}

void read_table(const toml::table& table, const std::string& prefix, Texts& texts, std::vector<std::string>& faults) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    if (const toml::table* section = node.as_table()) {
      read_table(*section, name + ".", texts, faults);
    } else if (!find_key(name)) {
      faults.push_back(name + ": no such key; docs/configuration.md lists them");
    } else if (const auto* text = node.as_string()) {
      texts[name] = text->get();
    } else if (const auto* integer = node.as_integer()) {
      texts[name] = std::to_string(integer->get());
    } else if (const auto* flag = node.as_boolean()) {
      texts[name] = flag->get() ? "true" : "false";
    } else if (const auto* number = node.as_floating_point()) {
      texts[name] = std::to_string(number->get());
    } else {
      faults.push_back(name + ": must be a text, a number or true|false");
    }
  }
}

void read_environment(Texts& texts, std::vector<std::string>& faults) {
  std::map<std::string, const ConfigKey*, std::less<>> by_variable;
  for (const ConfigKey& key : config_table()) by_variable[environment_name(key.name)] = &key;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view pair = *entry;
    if (!pair.starts_with("FINETUNED_")) continue;
    const std::string_view variable = pair.substr(0, pair.find('='));
    const auto found = by_variable.find(variable);
    if (found != by_variable.end()) {
      texts[std::string(found->second->name)] = pair.substr(std::min(pair.size(), variable.size() + 1));
    } else if (!is_reserved_variable(variable)) {
      faults.push_back(std::string(variable) + ": no such setting; docs/configuration.md lists them");
    }
  }
}

/// Empty when `text` is a legal value of `key`, else what is wrong with it.
std::string fault_of(const ConfigKey& key, const std::string& text) {
  if (key.type == ConfigKey::Type::kText) return {};
  if (key.type == ConfigKey::Type::kFlag) return text == "true" || text == "false" ? "" : "must be true or false";
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc() || stop != end || !std::isfinite(number)) return "must be a number, not '" + text + "'";
  std::int64_t integer = 0;
  if (key.type == ConfigKey::Type::kInteger) {
    const auto whole = std::from_chars(text.data(), end, integer);
    if (whole.ec != std::errc() || whole.ptr != end) return "must be a whole number, not '" + text + "'";
  }
  std::ostringstream why;
  if (key.least && number < *key.least) why << "must be at least " << static_cast<std::int64_t>(*key.least) << ", not " << text;
  if (key.most && number > *key.most) why << "must be at most " << static_cast<std::int64_t>(*key.most) << ", not " << text;
  return why.str();
}

}  // namespace

Settings load_settings(const std::optional<std::filesystem::path>& toml_file) {
  Texts texts;
  std::vector<std::string> faults;
  if (toml_file) {
    try {
      read_table(toml::parse_file(toml_file->string()), "", texts, faults);
    } catch (const toml::parse_error& error) {
      std::ostringstream where;
      where << toml_file->string() << ":" << error.source().begin.line << ": " << error.description();
      throw ConfigError(where.str());
    }
  }
  read_environment(texts, faults);
  Settings settings;
  for (const ConfigKey& key : config_table()) {
    const auto given = texts.find(std::string(key.name));
    const std::string text = given != texts.end() ? given->second : std::string(key.default_text);
    std::string fault = fault_of(key, text);
    if (fault.empty()) {
      try {
        key.assign(settings, text);
      } catch (const UsageError& error) {
        fault = error.what();
      }
    }
    if (!fault.empty()) faults.push_back(std::string(key.name) + ": " + fault);
  }
  if (!faults.empty()) {
    std::string all = "the configuration has " + std::to_string(faults.size()) + " fault(s):";
    for (const std::string& fault : faults) all += "\n  " + fault;
    throw ConfigError(all);
  }
  return settings;
}

std::string config_sample() {
  std::string text = "# finetuned's configuration: every key at its default. FINETUNED_SECTION_KEY variables override it.\n";
  std::string section;
  for (const ConfigKey& key : config_table()) {
    const std::size_t dot = key.name.find('.');
    const std::string own(dot == std::string_view::npos ? "" : key.name.substr(0, dot));
    if (own != section) text += "\n[" + (section = own) + "]\n";
    const bool quoted = key.type == ConfigKey::Type::kText;
    const std::string value(key.default_text);
    text += "# " + std::string(key.help) + "\n";
    text += std::string(dot == std::string_view::npos ? key.name : key.name.substr(dot + 1)) + " = " +
            (quoted ? "\"" + value + "\"" : value) + "\n";
  }
  return text;
}

std::string config_reference() {
  std::string text =
      "# Configuration\n\nA TOML file (`--config FILE`), then `FINETUNED_*` variables over it. Unknown keys fail. "
      "This page is generated from the table in `base/config_table.cpp` by `finetuned config reference`.\n\n"
      "| key | variable | default | bounds | what |\n|---|---|---|---|---|\n";
  for (const ConfigKey& key : config_table()) {
    std::string bounds;
    if (key.least && key.most)
      bounds = std::to_string(static_cast<std::int64_t>(*key.least)) + ".." + std::to_string(static_cast<std::int64_t>(*key.most));
    text += "| `" + std::string(key.name) + "` | `" + environment_name(key.name) + "` | " +
            (key.default_text.empty() ? "" : "`" + std::string(key.default_text) + "`") + " | " + bounds + " | " +
            std::string(key.help) + (key.secret ? " Secret: never logged." : "") + " |\n";
  }
  return text;
}

}  // namespace finetuned::base
