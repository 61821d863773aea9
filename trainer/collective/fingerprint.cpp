#include "trainer/collective/fingerprint.h"

#include <algorithm>
#include <sstream>

#include "base/expects.h"

namespace finetuned::collective {

namespace {

/// Appends the names of parts of `one` that `other` lacks or has with another digest.
void add_missing(const Fingerprint& one, const Fingerprint& other, std::vector<std::string>& names) {
  for (const FingerprintPart& part : one) {
    const bool same = std::find(other.begin(), other.end(), part) != other.end();
    const bool named = std::find(names.begin(), names.end(), part.name) != names.end();
    if (!same && !named) names.push_back(part.name);
  }
}

}  // namespace

std::string to_text(const Fingerprint& fingerprint) {
  std::string text;
  for (const FingerprintPart& part : fingerprint) {
    base::expects((part.name + part.digest).find_first_of("\t\n") == std::string::npos,
                  "a fingerprint's parts are plain words");
    text += part.name + "\t" + part.digest + "\n";
  }
  return text;
}

Fingerprint from_text(const std::string& text) {
  Fingerprint fingerprint;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) {
    const std::size_t tab = line.find('\t');
    if (tab != std::string::npos) fingerprint.push_back({line.substr(0, tab), line.substr(tab + 1)});
  }
  return fingerprint;
}

std::string differences(const Fingerprint& one, const Fingerprint& other) {
  std::vector<std::string> names;
  add_missing(one, other, names);
  add_missing(other, one, names);
  std::string text;
  for (const std::string& name : names)
    text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace finetuned::collective
