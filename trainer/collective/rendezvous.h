#pragma once

#include <cstdint>
#include <string>

namespace finetuned::collective {

/// Where ranks of several machines meet: rank 0 listens there, the others connect to it.
struct Endpoint {
  std::string host;
  std::uint16_t port = 0;
};

/// `HOST:PORT`, `[IPV6]:PORT`, or `:PORT` and `PORT` for this machine alone (127.0.0.1). Throws UsageError.
Endpoint parse_endpoint(const std::string& text);

std::string to_text(const Endpoint& endpoint);

}  // namespace finetuned::collective
