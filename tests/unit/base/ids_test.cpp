#include "base/ids.h"

#include <gtest/gtest.h>

#include <set>

#include "base/clock.h"
#include "base/sha256.h"

namespace finetuned::base {
namespace {

TEST(Ids, HaveTheirPrefixAndDoNotRepeat) {
  std::set<std::string> seen;
  for (int i = 0; i < 2000; ++i) {
    const std::string id = make_id("ftjob");
    EXPECT_TRUE(is_id(id, "ftjob")) << id;
    EXPECT_EQ(id.size(), 30u);
    seen.insert(id);
  }
  EXPECT_EQ(seen.size(), 2000u);
}

TEST(Ids, RefuseWhatCouldLeaveAPathOrAQuery) {
  for (const char* bad : {"file-", "file", "file-a/b", "file-..", "file-a'b", "job-abc", "file-a b", ""})
    EXPECT_FALSE(is_id(bad, "file")) << bad;
  EXPECT_FALSE(is_id("file-" + std::string(65, 'a'), "file"));
  EXPECT_TRUE(is_id("file-" + std::string(64, 'a'), "file"));
}

TEST(Ids, UuidIsVersion7) {
  const std::string uuid = make_uuid();
  ASSERT_EQ(uuid.size(), 36u);
  EXPECT_EQ(uuid[14], '7');
  EXPECT_NE(std::string("89ab").find(uuid[19]), std::string::npos);
  EXPECT_LT(uuid.substr(0, 8), make_uuid().substr(0, 8) + "~");
}

TEST(Sha256, AgreesWithThePublishedVector) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_TRUE(constant_time_equal("same", "same"));
  EXPECT_FALSE(constant_time_equal("same", "samf"));
  EXPECT_FALSE(constant_time_equal("same", "sam"));
}

TEST(Clock, WritesIso8601) {
  using std::chrono::milliseconds;
  EXPECT_EQ(iso8601_utc(std::chrono::system_clock::time_point(milliseconds(1795470329123))), "2026-11-23T21:45:29.123Z");
}

}  // namespace
}  // namespace finetuned::base
