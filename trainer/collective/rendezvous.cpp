#include "trainer/collective/rendezvous.h"

#include <charconv>

#include "base/errors.h"

namespace finetuned::collective {

Endpoint parse_endpoint(const std::string& text) {
  const auto refuse = [&text] {
    throw base::UsageError("'" + text + "' is no HOST:PORT with a port from 1 to 65,535 (as 10.0.0.1:29500)");
  };
  const std::size_t colon = text.rfind(':');
  std::string host = colon == std::string::npos ? "" : text.substr(0, colon);
  const std::string digits = colon == std::string::npos ? text : text.substr(colon + 1);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  } else if (host.find_first_of(":[]") != std::string::npos) {
    refuse();
  }
  Endpoint endpoint{host.empty() ? "127.0.0.1" : host};
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), endpoint.port);
  if (read.ec != std::errc() || read.ptr != digits.data() + digits.size() || endpoint.port == 0) refuse();
  return endpoint;
}

std::string to_text(const Endpoint& endpoint) {
  const bool brackets = endpoint.host.find(':') != std::string::npos;
  return (brackets ? "[" + endpoint.host + "]" : endpoint.host) + ":" + std::to_string(endpoint.port);
}

}  // namespace finetuned::collective
