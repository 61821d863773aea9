#include "base/machine.h"

#include <gtest/gtest.h>
#include <sched.h>

#include "base/files.h"
#include "base/ids.h"

namespace finetuned::base {
namespace {

namespace fs = std::filesystem;

class Machine : public testing::Test {
 protected:
  fs::path mount = fs::temp_directory_path() / make_id("finetuned-machine");
  void SetUp() override { fs::create_directories(mount / "a/b"); }
  void TearDown() override { fs::remove_all(mount); }
};

TEST_F(Machine, TheTightestGroupDecidesOnMemory) {
  write_durably(mount / "a/memory.max", "1000\n");
  write_durably(mount / "a/b/memory.max", "max\n");
  EXPECT_EQ(cgroup_limit_bytes(mount, "/a/b"), 1000u);
  write_durably(mount / "a/b/memory.max", "400\n");
  EXPECT_EQ(cgroup_limit_bytes(mount, "/a/b"), 400u);
  EXPECT_EQ(cgroup_limit_bytes(mount, "/"), 0u);
  EXPECT_GT(machine_memory_bytes(), std::uint64_t{64} << 20);
}

TEST_F(Machine, TheTightestGroupDecidesOnProcessors) {
  write_durably(mount / "a/cpu.max", "max 100000\n");
  EXPECT_EQ(cgroup_cores(mount, "/a/b"), 0);
  write_durably(mount / "a/b/cpu.max", "250000 100000\n");
  EXPECT_EQ(cgroup_cores(mount, "/a/b"), 2.5);
  write_durably(mount / "a/cpu.max", "50000 100000\n");
  EXPECT_EQ(cgroup_cores(mount, "/a/b"), 0.5);
}

TEST_F(Machine, ProcessorsAreThoseThisProcessMayRunOn) {
  cpu_set_t before, one;
  ASSERT_EQ(sched_getaffinity(0, sizeof before, &before), 0);
  CPU_ZERO(&one);
  for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++cpu)
    if (CPU_ISSET(cpu, &before)) CPU_SET(cpu, &one);
  ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
  EXPECT_EQ(machine_cores(), 1);
  ASSERT_EQ(sched_setaffinity(0, sizeof before, &before), 0);
  EXPECT_GE(machine_cores(), 1);
  EXPECT_LE(machine_cores(), CPU_COUNT(&before));
}

TEST(RunMemory, IsWhatIsAskedOrMostOfTheMachine) {
  EXPECT_EQ(run_memory_bytes(12345), 12345u);
  EXPECT_LT(run_memory_bytes(), machine_memory_bytes());
}

}  // namespace
}  // namespace finetuned::base
