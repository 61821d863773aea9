#include "trainer/collective/processes.h"

#include <csignal>
#include <cstdio>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include "base/errors.h"
#include "tests/unit/trainer_collective/group_checks.h"

namespace finetuned::collective {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::HasSubstr;

constexpr milliseconds kLong{60'000};

std::string failure_of(int size, milliseconds timeout, const std::function<void(Collective&)>& work) {
  try {
    run_processes(size, timeout, work);
  } catch (const std::exception& error) {
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "no child is left";
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

TEST(Processes, SumInOrderAndGatherForAnyNumberOfRanks) {
  for (const int size : {1, 2, 3, 8}) {
    int runs = 0;
    run_processes(size, kLong, [&](Collective& group) {
      hold(group.size() == size && group.local_size() == size, "all ranks are of this machine");
      check_group(group);
      check_lonely_part(group);
      ++runs;
    });
    EXPECT_EQ(runs, 1) << "the others run in processes of their own";
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "no child is left";
  }
}

TEST(Processes, ShareWhatWasReadBefore) {
  const std::vector<float> read(1000, 2.5f);
  run_processes(3, kLong, [&](Collective& group) {
    for (const float* seen : gather_values(group, read.data()))
      hold(seen == read.data(), "all ranks look at one place");
  });
}

TEST(Processes, AKilledRankIsNamedAtOnce) {
  const auto start = steady_clock::now();
  const std::string said = failure_of(3, kLong, [](Collective& group) {
    if (group.rank() == 2) raise(SIGKILL);
    check_gather(group);
  });
  EXPECT_THAT(said, testing::AllOf(HasSubstr("rank 2 of 3 (process "), HasSubstr("was killed by signal 9")));
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(20));
}

TEST(Processes, ARankThatEndsEarlyIsNamed) {
  const std::string said = failure_of(2, kLong, [](Collective& group) {
    if (group.rank() == 1) _exit(7);
    check_gather(group);
  });
  EXPECT_THAT(said, HasSubstr("ended early with status 7"));
}

TEST(Processes, WhatARankThrowsReachesTheCaller) {
  const std::string said = failure_of(3, kLong, [](Collective& group) {
    if (group.rank() == 1) throw std::runtime_error("the disk is gone");
    check_gather(group);
  });
  EXPECT_THAT(said, HasSubstr("rank 1 of 3: the disk is gone"));
  EXPECT_THROW(run_processes(2, kLong,
                             [](Collective& group) {
                               if (group.rank() == 1) throw base::UsageError("give less");
                               check_gather(group);
                             }),
               base::UsageError);
}

TEST(Processes, WhatRankZeroThrowsEndsAll) {
  const std::string said = failure_of(3, kLong, [](Collective& group) {
    if (group.rank() == 0) throw std::runtime_error("enough");
    check_gather(group);
  });
  EXPECT_EQ(said, "enough");
}

TEST(Processes, ASilentRankIsGivenUp) {
  const std::string said = failure_of(3, milliseconds(300), [](Collective& group) {
    while (group.rank() == 1)
      pause();
    check_gather(group);
  });
  EXPECT_THAT(said, HasSubstr("rank 1 of 3 did not answer within 0.3"));
}

/// A killed parent must leave no child that goes on training.
TEST(Processes, ChildrenEndWithTheirParent) {
  int pipe_ends[2];
  ASSERT_EQ(pipe(pipe_ends), 0);
  const pid_t parent = fork();
  if (parent == 0) {
    close(pipe_ends[0]);
    run_processes(2, kLong, [](Collective& group) {
      check_gather(group);
      if (group.rank() == 0) raise(SIGKILL);
      for (;;)
        pause();
    });
    _exit(0);
  }
  close(pipe_ends[1]);
  char nothing;
  EXPECT_EQ(read(pipe_ends[0], &nothing, 1), 0)
      << "the pipe closes when its last holder, the child, has ended";
  close(pipe_ends[0]);
  int status = 0;
  EXPECT_EQ(waitpid(parent, &status, 0), parent);
  EXPECT_TRUE(WIFSIGNALED(status));
}

std::function<Command(int)> rank_program(const std::string& deed) {
  return [deed](int rank) { return Command{RANK_PROGRAM, {std::to_string(rank), deed}}; };
}

std::string failure_of_programs(const std::string& deed) {
  try {
    run_programs(3, kLong, rank_program(deed), [](Collective& group) { check_gather(group); });
  } catch (const std::exception& error) {
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "no child is left";
    return error.what();
  }
  return "";
}

TEST(Programs, SumInOrderAndGatherBesideThreadsOfTheirBeginner) {
  ASSERT_EQ(dup2(STDERR_FILENO, kLeftOpen), kLeftOpen);  // not to be closed by exec, as a library may leave one
  ASSERT_EQ(fcntl(kLeftOpen, F_GETFD), 0);
  const std::jthread other([](const std::stop_token& stop) {
    while (!stop.stop_requested()) std::this_thread::sleep_for(milliseconds(1));
  });
  for (const int size : {1, 2, 8}) {
    run_programs(size, kLong, rank_program("check"), [&](Collective& group) {
      hold(group.size() == size && group.local_size() == size, "all ranks are of this machine");
      check_group(group);
      check_lonely_part(group);
    });
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "no child is left";
  }
  close(kLeftOpen);
}

TEST(Programs, HearThatTheWorkIsToStop) {
  run_programs(
      3, kLong, rank_program("hear"), [](Collective& group) { check_gather(group); },
      [](Collective& group) { group.ask_to_stop(); });
}

TEST(Programs, AreEndedByWhatTheirBeginnersWatchThrows) {
  struct Enough {};
  const auto start = steady_clock::now();
  EXPECT_THROW(run_programs(
                   3, kLong, rank_program("hang"), [](Collective& group) { check_gather(group); },
                   [](Collective&) { throw Enough(); }),
               Enough);
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(20));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "no child is left";
}

/// So that what it hears is why, and not only that.
TEST(Programs, ThatFailAreHeardByWhoAsksBetweenMeetings) {
  try {
    run_programs(2, kLong, rank_program("throw"), [](Collective& group) {
      siginfo_t ended{};
      ASSERT_EQ(waitid(P_ALL, 0, &ended, WEXITED | WNOWAIT), 0);
      group.check_peers();
      ADD_FAILURE() << "it heard nothing";
    });
    ADD_FAILURE() << "nothing was thrown";
  } catch (const PeerLost& lost) {
    EXPECT_STREQ(lost.what(), "rank 1 of 2: the disk is gone");
  }
}

TEST(Programs, AreDeafToWhatAsksTheirBeginnerToStop) { EXPECT_EQ(failure_of_programs("interrupted"), ""); }

TEST(Programs, ThatFailAreNamed) {
  EXPECT_THAT(failure_of_programs("die"), HasSubstr("was killed by signal 9"));
  EXPECT_THAT(failure_of_programs("throw"), HasSubstr("of 3: the disk is gone"));
  EXPECT_THROW(run_programs(2, kLong, rank_program("refuse"), [](Collective& group) { check_gather(group); }), base::UsageError);
}

TEST(Programs, ThatAreNotThereAreOneError) {
  EXPECT_THROW(run_programs(2, kLong, [](int) { return Command{"/no/such/program", {}}; }, [](Collective&) {}), std::system_error);
}

TEST(Programs, ThatNobodyBeganSaySo) {
  FILE* const said = popen(RANK_PROGRAM " 1 check 2>&1 3<&-", "r");
  ASSERT_NE(said, nullptr);
  char text[256] = {};
  EXPECT_GT(fread(text, 1, sizeof text - 1, said), 0u);
  EXPECT_EQ(WEXITSTATUS(pclose(said)), 3);
  EXPECT_THAT(text, HasSubstr("there is no group's memory at the descriptor"));
}

}  // namespace
}  // namespace finetuned::collective
