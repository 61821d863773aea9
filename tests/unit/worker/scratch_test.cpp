#include "services/worker/scratch.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

namespace finetuned::worker {
namespace {

namespace fs = std::filesystem;

class ScratchTest : public testing::Test {
 protected:
  ScratchTest() {
    char name[] = "/tmp/scratch_test.XXXXXX";
    root_ = ::mkdtemp(name);
  }
  ~ScratchTest() override { fs::remove_all(root_); }
  fs::path root_;
};

TEST_F(ScratchTest, IsGoneWithItsOwner) {
  {
    const Scratch scratch(root_, "ftjob-a", 1);
    std::ofstream(scratch.path() / "rows") << "data";
    EXPECT_TRUE(fs::exists(root_ / "ftjob-a" / "1" / "rows"));
  }
  EXPECT_FALSE(fs::exists(root_ / "ftjob-a"));
}

TEST_F(ScratchTest, TwoAttemptsNeverMeet) {
  auto first = std::make_unique<Scratch>(root_, "ftjob-a", 1);
  const Scratch second(root_, "ftjob-a", 2);
  EXPECT_NE(first->path(), second.path());
  first.reset();
  EXPECT_TRUE(fs::exists(second.path()));
}

TEST_F(ScratchTest, ASweepLeavesTheLivingAlone) {
  const Scratch living(root_, "ftjob-living", 1);
  EXPECT_EQ(Scratch::sweep(root_), 0u);
  EXPECT_TRUE(fs::exists(living.path()));
}

TEST_F(ScratchTest, ASweepRemovesWhatAKilledProcessLeft) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const Scratch doomed(root_, "ftjob-dead", 3);
    std::ofstream(doomed.path() / "rows") << "data";
    ::raise(SIGKILL);
  }
  ::waitpid(child, nullptr, 0);
  ASSERT_TRUE(fs::exists(root_ / "ftjob-dead" / "3"));
  EXPECT_EQ(Scratch::sweep(root_), 1u);
  EXPECT_FALSE(fs::exists(root_ / "ftjob-dead"));
}

}  // namespace
}  // namespace finetuned::worker
