#include "base/md5.h"

#include <gtest/gtest.h>

namespace finetuned::base {
namespace {

std::string md5_of(std::string_view data) {
  Md5 hash;
  hash.update(data);
  return hash.hex();
}

TEST(Md5, GivesTheDigestsOfRfc1321) {
  EXPECT_EQ(md5_of(""), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(md5_of("message digest"), "f96b697d7cb7938d525a2f31aaf161d0");
  EXPECT_EQ(md5_of("abcdefghijklmnopqrstuvwxyz"), "c3fcd3d76192e4007dfb496cca67e13b");
}

TEST(Md5, TakesItsInputInAnyPieces) {
  Md5 hash;
  hash.update("message");
  hash.update("");
  hash.update(" digest");
  EXPECT_EQ(hash.hex(), md5_of("message digest"));
}

}  // namespace
}  // namespace finetuned::base
