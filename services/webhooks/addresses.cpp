#include "services/webhooks/addresses.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>

#include "base/expects.h"

namespace finetuned::webhooks {

namespace {

using namespace std::string_view_literals;

struct Block {
  std::string_view start;  ///< whole bytes, network order
  unsigned bits;
  const char* name;
};

constexpr Block kIpv4Blocks[] = {
    {"\x00"sv, 8, "unspecified"},           {"\x0a"sv, 8, "private"},
    {"\x64\x40"sv, 10, "carrier-grade NAT"}, {"\x7f"sv, 8, "loopback"},
    {"\xa9\xfe"sv, 16, "link-local"},       {"\xac\x10"sv, 12, "private"},
    {"\xc0\x00\x00"sv, 24, "reserved"},     {"\xc0\x00\x02"sv, 24, "documentation"},
    {"\xc0\x58\x63"sv, 24, "6to4 relay"},   {"\xc0\xa8"sv, 16, "private"},
    {"\xc6\x12"sv, 15, "benchmarking"},     {"\xc6\x33\x64"sv, 24, "documentation"},
    {"\xcb\x00\x71"sv, 24, "documentation"}, {"\xe0"sv, 4, "multicast"},
    {"\xf0"sv, 4, "reserved"},
};

constexpr Block kIpv6Blocks[] = {
    {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"sv, 128, "unspecified"},
    {"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1"sv, 128, "loopback"},
    {"\xfc"sv, 7, "unique local"},
    {"\xfe\x80"sv, 10, "link-local"},
    {"\xfe\xc0"sv, 10, "site-local"},
    {"\xff"sv, 8, "multicast"},
    {"\x20\x01\x00"sv, 23, "reserved"},  // Teredo, ORCHID, benchmarking
    {"\x20\x01\x0d\xb8"sv, 32, "documentation"},
    {"\x3f\xff\x00"sv, 20, "documentation"},
};

/// Forms of IPv6 that carry an IPv4 address from byte `at` on.
struct Carrier {
  std::string_view start;
  std::size_t at;
};
constexpr Carrier kCarriers[] = {
    {"\0\0\0\0\0\0\0\0\0\0\xff\xff"sv, 12},       // mapped
    {"\0\x64\xff\x9b\0\0\0\0\0\0\0\0"sv, 12},     // NAT64, well known; 64:ff9b:1::/48 is outside of 2000::/3
    {"\x20\x02"sv, 2},                            // 6to4
};

constexpr Block kGlobalUnicast{"\x20"sv, 3, nullptr};

bool within(std::string_view address, const Block& block) {
  const std::size_t whole = block.bits / 8;
  if (address.substr(0, whole) != block.start.substr(0, whole)) return false;
  const unsigned rest = block.bits % 8;
  if (rest == 0) return true;
  const auto mask = static_cast<std::uint8_t>(0xff << (8 - rest));
  return (static_cast<std::uint8_t>(address[whole]) & mask) == (static_cast<std::uint8_t>(block.start[whole]) & mask);
}

}  // namespace

const char* not_public(std::string_view address) {
  base::expects(address.size() == 4 || address.size() == 16, "an IPv4 or IPv6 address");
  if (address.size() == 4) {
    for (const Block& block : kIpv4Blocks)
      if (within(address, block)) return block.name;
    return nullptr;
  }
  for (const Carrier& carrier : kCarriers)
    if (address.starts_with(carrier.start)) return not_public(address.substr(carrier.at, 4));
  for (const Block& block : kIpv6Blocks)
    if (within(address, block)) return block.name;
  return within(address, kGlobalUnicast) ? nullptr : "reserved";
}

std::string address_bytes(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
    return {reinterpret_cast<const char*>(&v4), sizeof v4};
  }
  if (address->sa_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
    return {reinterpret_cast<const char*>(&v6), sizeof v6};
  }
  return {};
}

}  // namespace finetuned::webhooks
