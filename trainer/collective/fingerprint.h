#pragma once

#include <string>
#include <vector>

#include "trainer/collective/collective.h"

namespace finetuned::collective {

/// What has to be the same on every rank, in parts that a message can name.
struct FingerprintPart {
  std::string name;    ///< `training rows`
  std::string digest;  ///< of what it stands for
  bool operator==(const FingerprintPart&) const = default;
};
using Fingerprint = std::vector<FingerprintPart>;

/// A line a part; names and digests hold neither tabs nor line ends (expects()).
std::string to_text(const Fingerprint& fingerprint);
/// The way back. Lines that are none are left out: they then differ.
Fingerprint from_text(const std::string& text);

/// The names of the parts in which the two differ, by commas; empty where they are the same.
std::string differences(const Fingerprint& one, const Fingerprint& other);

/// Returns where all ranks have the same fingerprint; throws UsageError on every rank where one differs from
/// rank 0, and says which and in what, by the names that this rank has for its own parts. As text it has less
/// than kMostGathered bytes (expects()).
void agree(Collective& group, const Fingerprint& mine);

}  // namespace finetuned::collective
