#pragma once

#include <string>
#include <string_view>

struct sockaddr;

namespace finetuned::webhooks {

/// A socket's address without its port: 4 or 16 bytes in network order; empty of another family.
std::string address_bytes(const sockaddr* address);

/// Why an address (4 or 16 bytes, network order) is none of the public internet: "private", "loopback", ...; nullptr for
/// a public one. IPv6 forms that carry an IPv4 address (mapped, 6to4, NAT64) count as the one they carry; what the
/// registries of RFC 6890 and IANA do not call globally reachable is refused, as is all of IPv6 outside of 2000::/3.
const char* not_public(std::string_view address);

}  // namespace finetuned::webhooks
