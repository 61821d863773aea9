#include "services/webhooks/addresses.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>

#include <string>

namespace finetuned::webhooks {
namespace {

std::string verdict(const std::string& text) {
  char bytes[16];
  const bool v6 = text.find(':') != std::string::npos;
  if (::inet_pton(v6 ? AF_INET6 : AF_INET, text.c_str(), bytes) != 1) return "no address: " + text;
  const char* kind = not_public({bytes, v6 ? 16u : 4u});
  return kind ? kind : "public";
}

struct Case {
  const char* address;
  const char* expected;
};

TEST(WebhookAddresses, EachIpv4ClassIsKnownAtBothItsEnds) {
  for (const auto& [address, expected] : {
           Case{"0.0.0.0", "unspecified"}, {"0.255.255.255", "unspecified"}, {"1.0.0.0", "public"},
           {"9.255.255.255", "public"}, {"10.0.0.0", "private"}, {"10.255.255.255", "private"}, {"11.0.0.0", "public"},
           {"100.63.255.255", "public"}, {"100.64.0.0", "carrier-grade NAT"}, {"100.127.255.255", "carrier-grade NAT"},
           {"100.128.0.0", "public"}, {"127.0.0.1", "loopback"}, {"127.255.255.255", "loopback"}, {"128.0.0.0", "public"},
           {"169.253.255.255", "public"}, {"169.254.169.254", "link-local"}, {"169.255.0.0", "public"},
           {"172.15.255.255", "public"}, {"172.16.0.0", "private"}, {"172.31.255.255", "private"}, {"172.32.0.0", "public"},
           {"192.0.0.1", "reserved"}, {"192.0.2.1", "documentation"}, {"192.88.99.1", "6to4 relay"},
           {"192.167.255.255", "public"}, {"192.168.0.0", "private"}, {"192.168.255.255", "private"}, {"192.169.0.0", "public"},
           {"198.18.0.0", "benchmarking"}, {"198.19.255.255", "benchmarking"}, {"198.20.0.0", "public"},
           {"198.51.100.7", "documentation"}, {"203.0.113.7", "documentation"}, {"223.255.255.255", "public"},
           {"224.0.0.1", "multicast"}, {"239.255.255.255", "multicast"}, {"240.0.0.0", "reserved"},
           {"255.255.255.255", "reserved"}, {"8.8.8.8", "public"}})
    EXPECT_EQ(verdict(address), expected) << address;
}

TEST(WebhookAddresses, EachIpv6ClassIsKnown) {
  for (const auto& [address, expected] : {
           Case{"::", "unspecified"}, {"::1", "loopback"}, {"::2", "reserved"}, {"::127.0.0.1", "reserved"},
           {"fc00::1", "unique local"}, {"fdff::1", "unique local"}, {"fe80::1", "link-local"}, {"febf::1", "link-local"},
           {"fec0::1", "site-local"}, {"ff02::1", "multicast"}, {"100::1", "reserved"}, {"64:ff9b:1::1", "reserved"},
           {"2001::1", "reserved"}, {"2001:1ff::1", "reserved"}, {"2001:200::1", "public"}, {"2001:db8::1", "documentation"},
           {"3fff::1", "documentation"}, {"4000::1", "reserved"}, {"2606:4700::1111", "public"}, {"2a00:1450:4001::1", "public"}})
    EXPECT_EQ(verdict(address), expected) << address;
}

TEST(WebhookAddresses, AnIpv4AddressInsideAnIpv6OneCountsAsItself) {
  for (const auto& [address, expected] : {
           Case{"::ffff:127.0.0.1", "loopback"}, {"::ffff:10.1.2.3", "private"}, {"::ffff:8.8.8.8", "public"},
           {"64:ff9b::169.254.169.254", "link-local"}, {"64:ff9b::100.64.0.1", "carrier-grade NAT"},
           {"64:ff9b::8.8.8.8", "public"}, {"2002:7f00:1::1", "loopback"}, {"2002:c0a8:101::1", "private"},
           {"2002:e000:1::1", "multicast"}, {"2002:808:808::1", "public"}})
    EXPECT_EQ(verdict(address), expected) << address;
}

}  // namespace
}  // namespace finetuned::webhooks
