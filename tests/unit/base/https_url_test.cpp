#include "base/https_url.h"

#include <gtest/gtest.h>

namespace finetuned::base {
namespace {

std::string read(const std::string& text) {
  try {
    return parse_https_url(text).text();
  } catch (const UrlError& error) {
    return error.what();
  }
}

TEST(HttpsUrl, ReadsHostPortAndTarget) {
  const HttpsUrl url = parse_https_url("HTTPS://Hooks.Example.com:8443/a/b?c=d%20e");
  EXPECT_EQ(url.host, "hooks.example.com");
  EXPECT_EQ(url.port, 8443);
  EXPECT_EQ(url.target, "/a/b?c=d%20e");
  EXPECT_EQ(url.authority(), "hooks.example.com:8443");
  EXPECT_EQ(read("https://example.com"), "https://example.com:443/");
  EXPECT_EQ(read("https://example.com?x=1"), "https://example.com:443/?x=1");
  EXPECT_EQ(read("https://192.0.2.7/x"), "https://192.0.2.7:443/x");
  EXPECT_EQ(read("https://[2001:DB8::1]:9/x"), "https://[2001:db8::1]:9/x");
  EXPECT_EQ(read("https://a.b/@x:y"), "https://a.b:443/@x:y");
}

TEST(HttpsUrl, RefusesWhatCanBeReadInTwoWays) {
  for (const char* wrong :
       {"", "https://", "http://example.com/", "ftp://example.com/", "//example.com", "https:/example.com", "https:example.com",
        "https://user@example.com/", "https://user:word@example.com/", "https://example.com/#part", "https://example.com#part",
        "https://example.com:0/", "https://example.com:65536/", "https://example.com:08/", "https://example.com:/",
        "https://example.com:8x/", "https://example.com:-1/", "https://example.com:1:2/", "https:///path", "https://.com/",
        "https://a..b/", "https://example.com./", "https://-a.com/", "https://a-.com/", "https://a_b.com/", "https://exa mple.com/",
        "https://example.com/a b", "https://example.com\\@evil.com/", "https://ex%61mple.com/", "https://ex\xc3\xa4mple.com/",
        "https://2130706433/", "https://0x7f000001/", "https://127.1/", "https://0177.0.0.1/", "https://127.0.0.01/",
        "https://127.0.0.1.5/", "https://a.0x7f/", "https://[::1/", "https://::1/", "https://[::1]x/", "https://[fe80::1%25eth0]/",
        "https://[127.0.0.1]/", "https://example.com/\x01", "https://example.com/\x7f"})
    EXPECT_THROW(parse_https_url(wrong), UrlError) << wrong << " became " << read(wrong);
  EXPECT_THROW(parse_https_url(std::string("https://a.b/\0c", 14)), UrlError);
  EXPECT_THROW(parse_https_url("https://" + std::string(64, 'a') + ".com/"), UrlError);
  EXPECT_NO_THROW(parse_https_url("https://" + std::string(63, 'a') + ".com/"));
  EXPECT_THROW(parse_https_url("https://a.b/" + std::string(HttpsUrl::kMostBytes, 'a')), UrlError);
}

}  // namespace
}  // namespace finetuned::base
