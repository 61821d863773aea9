#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace finetuned::webhooks {

/// A host that no try can be made to; the message is the delivery's error.
struct Unresolved : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A host's addresses, 4 or 16 bytes each in network order; one of another family is empty. Throws Unresolved.
using Lookup = std::function<std::vector<std::string>(const std::string& host)>;
std::vector<std::string> look_up_by_system(const std::string& host);

/// Looks hosts up with a limit in time, which getaddrinfo() has not: name servers that do not answer, which an endpoint's
/// owner may run, hold it for as long as the system's configuration allows. A lookup beyond its limit is left to a thread of its
/// own until it ends; there are at most `most_at_once` such threads. Thread-safe.
class Resolver {
 public:
  Resolver(std::chrono::milliseconds limit, std::size_t most_at_once, Lookup lookup = look_up_by_system);
  ~Resolver();
  Resolver(const Resolver&) = delete;
  Resolver& operator=(const Resolver&) = delete;

  /// Throws Unresolved, also where it takes too long or too many lookups hang.
  std::vector<std::string> resolve(const std::string& host) const;

 private:
  struct State;
  std::chrono::milliseconds limit_;
  std::shared_ptr<State> state_;  ///< of the lookups that are left behind, too
};

}  // namespace finetuned::webhooks
