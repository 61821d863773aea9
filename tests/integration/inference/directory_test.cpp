#include "services/inference/directory.h"

#include <gtest/gtest.h>

#include <unistd.h>

#include <thread>

#include "base/ids.h"
#include "tests/integration/support/services.h"

namespace finetuned::inference {
namespace {

using namespace std::chrono_literals;

class DirectoryTest : public ::testing::Test {
 protected:
  void SetUp() override { client.command({"FLUSHALL"}); }
  void TearDown() override { client.command({"FLUSHALL"}); }

  static std::vector<std::string> names(const std::vector<Advertisement>& services) {
    std::vector<std::string> names;
    for (const Advertisement& service : services) names.push_back(service.name);
    return names;
  }

  redis::Client client{tests::redis_address()};
};

using Names = std::vector<std::string>;

TEST_F(DirectoryTest, AServiceIsFoundAsItAdvertisedItself) {
  Directory directory(client);
  EXPECT_TRUE(directory.find("tiny").empty());
  ASSERT_TRUE(directory.advertise({"w1", "/run/w1.sock", {"tiny"}, {std::string(64, 'a')}, 3, 4}));
  const auto found = directory.find("tiny");
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].name, "w1");
  EXPECT_EQ(found[0].socket, "/run/w1.sock");
  EXPECT_EQ(found[0].bases, Names{"tiny"});
  EXPECT_EQ(found[0].adapters, Names{std::string(64, 'a')});
  EXPECT_EQ(found[0].free_places, 3);
  EXPECT_EQ(found[0].queue_length, 4);
}

TEST_F(DirectoryTest, ThoseThatHoldTheBaseComeFirstThenThoseWithMorePlaces) {
  Directory directory(client);
  directory.advertise({"other", "/s", {"large"}, {}, 16, 0});
  directory.advertise({"full", "/s", {"tiny"}, {}, 0, 9});
  directory.advertise({"fuller", "/s", {"tiny"}, {}, 0, 2});
  directory.advertise({"free", "/s", {"large", "tiny"}, {}, 5, 0});
  EXPECT_EQ(names(directory.find("tiny")), (Names{"free", "fuller", "full", "other"}));
  EXPECT_EQ(names(directory.find("large")), (Names{"other", "free", "fuller", "full"}));
}

TEST_F(DirectoryTest, AServiceThatIsSilentOrWithdrawsIsNotFound) {
  Directory directory(client, {.lifetime = 200ms, .remembered = 60s});
  directory.advertise({"silent", "/s", {}, {}, 1, 0});
  std::this_thread::sleep_for(300ms);
  directory.advertise({"leaves", "/s", {}, {}, 1, 0});
  EXPECT_EQ(names(directory.find("tiny")), Names{"leaves"});
  directory.withdraw("leaves");
  EXPECT_TRUE(directory.find("tiny").empty());
  EXPECT_EQ(client.command({"SCARD", "finetuned:inference:services"})->integer, 0);
}

TEST_F(DirectoryTest, AnAdvertisementOfAnotherVersionIsPassedOver) {
  Directory directory(client);
  directory.advertise({"new", "/s", {}, {}, 1, 0});
  client.command({"SET", "finetuned:inference:service:new", R"({"v":2})"});
  directory.advertise({"known", "/s", {}, {}, 1, 0});
  EXPECT_EQ(names(directory.find("tiny")), Names{"known"});
}

TEST_F(DirectoryTest, WithoutRedisTheLastKnownServicesAreFoundForAWhile) {
  // A proxy of one socket that can be taken away: a link to Redis's own.
  const std::string link = "/tmp/" + base::make_id("redis");
  ASSERT_EQ(symlink(tests::redis_address().socket.c_str(), link.c_str()), 0);
  redis::Address address = tests::redis_address();
  address.socket = link;
  redis::Client through_link(address);
  Directory directory(through_link, {.lifetime = 10s, .remembered = 600ms});
  ASSERT_TRUE(directory.advertise({"w1", "/s", {"tiny"}, {}, 1, 0}));
  ASSERT_EQ(directory.find("tiny").size(), 1u);
  unlink(link.c_str());
  client.command({"CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal"});
  EXPECT_FALSE(directory.advertise({"w1", "/s", {"tiny"}, {}, 1, 0}));
  EXPECT_EQ(directory.find("tiny").size(), 1u);
  std::this_thread::sleep_for(800ms);
  EXPECT_TRUE(directory.find("tiny").empty());
}

}  // namespace
}  // namespace finetuned::inference
