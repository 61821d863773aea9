#include "trainer/collective/fingerprint.h"

#include <gtest/gtest.h>

#include "base/errors.h"
#include "trainer/collective/rendezvous.h"

namespace finetuned::collective {
namespace {

TEST(Fingerprint, GoesThereAndBackAndNamesWhatDiffers) {
  const Fingerprint one{{"base", "abc"}, {"training rows", "123"}};
  EXPECT_EQ(from_text(to_text(one)), one);
  EXPECT_EQ(differences(one, one), "");
  EXPECT_EQ(differences(one, {{"base", "abc"}, {"training rows", "124"}}), "training rows");
  EXPECT_EQ(differences(one, {{"base", "abd"}, {"engine", "x"}}), "base, training rows, engine");
  EXPECT_EQ(differences(one, from_text("no line of it\n\n")), "base, training rows");
}

TEST(Rendezvous, IsThisMachineUnlessAHostIsNamed) {
  EXPECT_EQ(to_text(parse_endpoint("29500")), "127.0.0.1:29500");
  EXPECT_EQ(to_text(parse_endpoint(":29500")), "127.0.0.1:29500");
  EXPECT_EQ(to_text(parse_endpoint("node-0.cluster:1")), "node-0.cluster:1");
  EXPECT_EQ(parse_endpoint("[fd00::1]:65535").host, "fd00::1");
  EXPECT_EQ(to_text(parse_endpoint("[fd00::1]:65535")), "[fd00::1]:65535");
}

TEST(Rendezvous, RefusesWhatIsNoAddress) {
  for (const char* text :
       {"", "host", "host:", "host:0", "host:65536", "host:12x", "fd00::1:29500", "[x:1", "1:-1"})
    EXPECT_THROW(parse_endpoint(text), base::UsageError) << text;
}

}  // namespace
}  // namespace finetuned::collective
