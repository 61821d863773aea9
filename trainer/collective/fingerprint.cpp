#include "trainer/collective/fingerprint.h"

#include <algorithm>
#include <array>
#include <sstream>

#include "base/errors.h"
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

/// Another rank's parts. Names come over the network, and messages go to terminals: only those that `mine`
/// has too are kept.
Fingerprint foreign(const std::string& text, const Fingerprint& mine) {
  Fingerprint fingerprint = from_text(text);
  for (FingerprintPart& part : fingerprint) {
    const auto same_name = [&](const FingerprintPart& own) { return own.name == part.name; };
    if (std::none_of(mine.begin(), mine.end(), same_name)) part.name = "what this program does not know";
  }
  return fingerprint;
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

void agree(Collective& group, const Fingerprint& mine) {
  using Text = std::array<char, kMostGathered>;
  const std::string text = to_text(mine);
  base::expects(text.size() < sizeof(Text), "a fingerprint is short");
  Text sent{};
  std::copy(text.begin(), text.end(), sent.begin());
  std::vector<Fingerprint> all;
  for (const Text& one : gather_values(group, sent))
    all.push_back(foreign(std::string(one.begin(), std::find(one.begin(), one.end(), '\0')), mine));
  for (std::size_t rank = 1; rank < all.size(); ++rank) {
    const std::string apart = differences(all[0], all[rank]);
    if (!apart.empty())
      throw base::UsageError("rank " + std::to_string(rank) + " differs from rank 0 in: " + apart +
                             "; give all ranks the same");
  }
}

}  // namespace finetuned::collective
