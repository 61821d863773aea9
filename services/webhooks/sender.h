#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/https_url.h"
#include "services/webhooks/resolver.h"

namespace finetuned::webhooks {

struct SenderOptions {
  std::set<std::string> allowed_hosts;  ///< `HOST:PORT` (HttpsUrl::authority) that may have private addresses
  std::string ca_file;                  ///< certificates to trust beside the system's; empty: none
  std::chrono::milliseconds resolve_limit{5'000};
  std::chrono::milliseconds timeout{10'000};  ///< of a whole try, after its host is resolved
};

/// Reads `HOST:PORT,HOST:PORT`. Throws UsageError.
std::set<std::string> parse_allowed_hosts(std::string_view text);

struct Header {
  std::string name, value;
};

struct Answer {
  std::optional<int> status;  ///< none where no answer came
  std::string error;          ///< why the try failed; empty on any answer
  std::string start;          ///< of the body, at most 256 bytes, what is not printable ASCII as `?`
};

/// Posts to addresses that strangers name. Only https; the host is resolved here, every address of it checked, and the
/// connection goes to a checked one and no other; certificates are verified, redirects not followed, proxies not used;
/// of the answer at most 64 KiB are read. Thread-safe.
class Sender {
 public:
  explicit Sender(SenderOptions options);
  ~Sender();
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

  /// One try. Never throws for what the other side does.
  Answer post(const std::string& url, const std::vector<Header>& headers, const std::string& body) const;

 private:
  SenderOptions options_;
  Resolver resolver_;
};

}  // namespace finetuned::webhooks
