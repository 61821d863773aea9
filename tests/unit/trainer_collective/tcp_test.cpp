#include "trainer/collective/tcp.h"

#include <array>
#include <csignal>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <memory>
#include <netinet/tcp.h>
#include <thread>

#include "base/errors.h"
#include "tests/unit/trainer_collective/group_checks.h"
#include "tests/unit/trainer_collective/loopback.h"
#include "trainer/collective/fingerprint.h"
#include "trainer/collective/socket.h"

namespace finetuned::collective {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
using testing::Each;
using testing::HasSubstr;

class Tcp : public testing::Test {
 protected:
  TcpOptions options(int rank, int size) const {
    TcpOptions made;
    made.rendezvous = {"127.0.0.1", port_};
    made.rank = rank;
    made.size = size;
    made.join_timeout = milliseconds(30'000);
    made.peer_timeout = milliseconds(30'000);
    return made;
  }

  static std::string failure_of(const std::function<void()>& work) {
    try {
      work();
    } catch (const std::exception& error) {
      return error.what();
    }
    return "nothing was thrown";
  }

  std::uint16_t port_ = free_port();
};

TEST_F(Tcp, SumInOrderAndGather) {
  for (const int size : {2, 3}) {
    const auto work = [&](int rank) {
      const auto group = join(options(rank, size));
      hold(group->rank() == rank && group->size() == size, "a group knows its ranks");
      check_group(*group);
      check_lonely_part(*group);
      gather_values(*group, 0);
    };
    Others others(size, work);
    work(0);
    EXPECT_THAT(others.statuses(), Each(0));
  }
}

TEST_F(Tcp, RanksThatDifferAreRefusedOnEveryRank) {
  const auto said_by = [&](int rank) {
    const std::string digest = rank == 2 ? "other" : "abc";
    const auto group = join(options(rank, 3));
    try {
      agree(*group, {{"training rows", digest}, {"base", "def"}});
    } catch (const base::UsageError& error) {
      return std::string(error.what());
    }
    return std::string("nothing");
  };
  const std::string expected = "rank 2 differs from rank 0 in: training rows; give all ranks the same";
  Others others(3, [&](int rank) {
    const std::string said = said_by(rank);
    hold(said == expected, said);
  });
  EXPECT_EQ(said_by(0), expected);
  EXPECT_THAT(others.statuses(), Each(0));
}

/// Messages go to terminals, and the network may send what a terminal obeys.
TEST_F(Tcp, ANameThatOnlyAStrangerHasIsNotRepeated) {
  const Fingerprint known{{"base", "def"}};
  Others others(2, [&](int rank) {
    agree(*join(options(rank, 2)), {{"base", "def"}, {"\x1b]0;mine\x07", "x"}});
  });
  EXPECT_EQ(failure_of([&] { agree(*join(options(0, 2)), known); }),
            "rank 1 differs from rank 0 in: what this program does not know; give all ranks the same");
}

/// A rank that is started again while the others are still awaited.
TEST_F(Tcp, ARankThatWentAwayMayComeBack) {
  Signal went_away;
  Others others(3, [&](int rank) {
    if (rank == 1) {
      const pid_t first = fork();
      if (first == 0) {
        TcpOptions mine = options(1, 3);
        mine.join_timeout = milliseconds(500);  // it gives up after twice that: the third never came
        failure_of([&] { join(mine); });
        _exit(0);
      }
      waitpid(first, nullptr, 0);
      went_away.give();
    } else {
      went_away.await();
    }
    check_gather(*join(options(rank, 3)));
  });
  check_gather(*join(options(0, 3)));
  EXPECT_THAT(others.statuses(), Each(0));
}

TEST_F(Tcp, OtherWorldsAndTakenRanksAreRefused) {
  Others another_world(2, [&](int) { join(options(1, 3)); });
  EXPECT_THAT(failure_of([&] { join(options(0, 2)); }), HasSubstr("a world of 3 ranks"));
  Others twins(3, [&](int) { join(options(1, 3)); });
  EXPECT_THAT(failure_of([&] { join(options(0, 3)); }), HasSubstr("rank 1 came twice"));
}

/// Bytes of a message's header: the protocol's magic, `version`, `kind` and no more.
std::string header_of(char version, char kind) {
  return std::string{'\x46', '\x54', '\x4e', '\x43', version, '\0', kind, '\0'} + std::string(8, '\0');
}

TEST_F(Tcp, StrangersAreDropped) {
  Others others(2, [&](int rank) {
    for (const std::string& words : {std::string("GET / HTTP/1.1\r\nHost: here\r\n\r\n"), header_of(9, 5)}) {
      const auto until = steady_clock::now() + std::chrono::seconds(30);
      Socket stranger = connect_to({"127.0.0.1", port_}, until);
      stranger.send(std::as_bytes(std::span(words)), until);
    }
    check_gather(*join(options(rank, 2)));
  });
  check_gather(*join(options(0, 2)));
  EXPECT_THAT(others.statuses(), Each(0));
}

TEST_F(Tcp, AnotherVersionIsNamed) {
  Others others(2, [&](int) {
    const auto until = steady_clock::now() + std::chrono::seconds(30);
    const std::string hello = header_of(9, 1);
    Socket one = connect_to({"127.0.0.1", port_}, until);
    one.send(std::as_bytes(std::span(hello)), until);
    std::byte answer;
    one.receive({&answer, 1}, until);  // it is told
  });
  EXPECT_THAT(failure_of([&] { join(options(0, 2)); }), HasSubstr("another version of the protocol"));
  EXPECT_THAT(others.statuses(), Each(0));
}

TEST_F(Tcp, WhoDoesNotComeIsNamed) {
  TcpOptions mine = options(0, 3);
  mine.join_timeout = milliseconds(300);
  EXPECT_THAT(failure_of([&] { join(mine); }), HasSubstr("rank 1, 2 of 3 did not come to 127.0.0.1:"));
  mine.rank = 1;
  EXPECT_THAT(failure_of([&] { join(mine); }), HasSubstr("rank 0 was not reached"));
}

TEST_F(Tcp, ADeadRankIsNamedOnEveryRank) {
  Others others(3, [&](int rank) {
    const auto group = join(options(rank, 3));
    check_gather(*group);
    if (rank == 2) raise(SIGKILL);
    const std::string said = failure_of([&] { check_gather(*group); });
    hold(said.find("rank 2 of 3 was lost") == 0, said);
  });
  const auto group = join(options(0, 3));
  check_gather(*group);
  EXPECT_THAT(failure_of([&] { check_gather(*group); }),
              HasSubstr("rank 2 of 3 was lost: it closed the connection"));
  EXPECT_EQ(others.statuses(), (std::vector<int>{0, SIGKILL}));
}

TEST_F(Tcp, ASilentRankIsGivenUp) {
  Signal over;
  Others others(2, [&](int rank) {
    const auto group = join(options(rank, 2));
    gather_values(*group, 0);
    over.await();  // silent until rank 0 has given it up
  });
  TcpOptions mine = options(0, 2);
  mine.peer_timeout = milliseconds(300);
  const auto group = join(mine);
  gather_values(*group, 0);
  EXPECT_THAT(failure_of([&] { gather_values(*group, 0); }),
              HasSubstr("rank 1 of 2 did not answer within 0.300 s; where its share may take longer, raise"));
  over.give();
  EXPECT_THAT(others.statuses(), Each(0));
}

/// Who waits for rank 0 hears from it who is silent, though all have the same timeout.
TEST_F(Tcp, TheSilentRankIsNamedOnEveryRank) {
  Signal over;
  const auto impatient = [&](int rank) {
    TcpOptions mine = options(rank, 3);
    mine.peer_timeout = milliseconds(500);
    return mine;
  };
  Others others(3, [&](int rank) {
    const auto group = join(impatient(rank));
    gather_values(*group, 0);
    if (rank == 2) return over.await();
    const std::string said = failure_of([&] { gather_values(*group, 0); });
    hold(said.find("rank 2 of 3 did not answer within 0.500 s") == 0, said);
  });
  const auto group = join(impatient(0));
  gather_values(*group, 0);
  std::this_thread::sleep_for(milliseconds(200));  // the others have waited a while before rank 0 begins to
  EXPECT_THAT(failure_of([&] { gather_values(*group, 0); }), HasSubstr("rank 2 of 3 did not answer"));
  over.give();
  EXPECT_THAT(others.statuses(), Each(0));
}

/// It was busy when rank 0 told everybody, and finds a closed connection.
TEST_F(Tcp, WhoComputedMeanwhileLearnsWhoWasLost) {
  Signal over;
  Others others(3, [&](int rank) {
    const auto group = join(options(rank, 3));
    check_gather(*group);
    if (rank == 1) raise(SIGKILL);
    over.await();
    const std::string said = failure_of([&] { check_gather(*group); });
    hold(said.find("rank 1 of 3 was lost") == 0, said);
  });
  {
    const auto group = join(options(0, 3));
    check_gather(*group);
    EXPECT_THAT(failure_of([&] { check_gather(*group); }), HasSubstr("rank 1 of 3 was lost"));
  }
  over.give();
  EXPECT_EQ(others.statuses(), (std::vector<int>{SIGKILL, 0}));
}

TEST_F(Tcp, ADeadRankIsSeenWhileAnotherIsAwaited) {
  Signal over;
  Others others(3, [&](int rank) {
    const auto group = join(options(rank, 3));
    check_gather(*group);
    if (rank == 2) raise(SIGKILL);
    over.await();
  });
  TcpOptions mine = options(0, 3);
  mine.peer_timeout = milliseconds(5000);
  const auto group = join(mine);
  check_gather(*group);
  EXPECT_THAT(failure_of([&] { check_gather(*group); }), HasSubstr("rank 2 of 3 was lost"));
  over.give();
  EXPECT_EQ(others.statuses(), (std::vector<int>{0, SIGKILL}));
}

TEST_F(Tcp, ThatRankZeroEndsIsTold) {
  Others others(2, [&](int rank) {
    const auto group = join(options(rank, 2));
    check_gather(*group);
    const std::string said = failure_of([&] { check_gather(*group); });
    hold(said.find("rank 0 of 2 ended") == 0, said);
  });
  check_gather(*join(options(0, 2)));
  EXPECT_THAT(others.statuses(), Each(0));
}

TEST_F(Tcp, SilentStrangersKeepNobodyWaiting) {
  Others others(2, [&](int rank) {
    const auto until = steady_clock::now() + std::chrono::seconds(30);
    std::vector<Socket> strangers;
    for (int i = 0; i < 3; ++i)
      strangers.push_back(connect_to({"127.0.0.1", port_}, until));
    check_gather(*join(options(rank, 2)));
  });
  TcpOptions mine = options(0, 2);
  mine.join_timeout = milliseconds(10'000);  // one after another they would take 15 s
  check_gather(*join(mine));
  EXPECT_THAT(others.statuses(), Each(0));
}

TEST_F(Tcp, StrangersWhoComeWithoutEndEndNothing) {
  std::jthread strangers([&](const std::stop_token& stop) {
    const auto until = steady_clock::now() + std::chrono::seconds(60);
    const std::string words(24, 'x');
    while (!stop.stop_requested() && steady_clock::now() < until) {
      failure_of([&] {
        Socket one = connect_to({"127.0.0.1", port_}, steady_clock::now() + milliseconds(100));
        one.send(std::as_bytes(std::span(words)), until);
      });
    }
  });
  TcpOptions mine = options(0, 2);
  mine.join_timeout = milliseconds(500);
  EXPECT_THAT(failure_of([&] { join(mine); }), HasSubstr("rank 1 of 2 did not come"));
}

TEST_F(Tcp, AConnectionNoticesAMachineThatVanishes) {
  const base::FileDescriptor listener = listen_at({"127.0.0.1", port_});
  base::FileDescriptor fd(::socket(AF_INET, SOCK_STREAM, 0));
  const int raw = fd.get();
  const Socket connection(std::move(fd));
  const auto option = [raw](int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    getsockopt(raw, level, name, &value, &size);
    return value;
  };
  EXPECT_EQ(option(SOL_SOCKET, SO_KEEPALIVE), 1);
  EXPECT_EQ(option(IPPROTO_TCP, TCP_KEEPIDLE) + option(IPPROTO_TCP, TCP_KEEPCNT) * option(IPPROTO_TCP, TCP_KEEPINTVL), 30);
}

TEST_F(Tcp, SizesThatDoNotFitAreAnError) {
  Others others(2, [&](int rank) {
    const auto group = join(options(rank, 2));
    gather_values(*group, std::int64_t{1});
  });
  const auto group = join(options(0, 2));
  EXPECT_THAT(failure_of([&] { gather_values(*group, std::int32_t{1}); }),
              HasSubstr("8 bytes of kind 5 where 4"));
}

TEST_F(Tcp, WhatRankZeroSaysIsPlainText) {
  const base::FileDescriptor listener = listen_at({"127.0.0.1", port_});
  std::string said;
  std::thread guest([&] { said = failure_of([&] { join(options(1, 2)); }); });
  const auto until = steady_clock::now() + std::chrono::seconds(30);
  std::optional<Socket> connection = WaitingRoom(listener, milliseconds(30'000)).next(until);
  std::array<std::byte, 24> hello;  // header, rank and size; the answer begins with the same 6 bytes
  if (connection) connection->receive(hello, until);
  const std::string words = "\x1b[2Jgo\n";
  std::string refusal(reinterpret_cast<const char*>(hello.data()), 6);
  refusal += {'\3', '\0', static_cast<char>(words.size()), 0, 0, 0, 0, 0, 0, 0};
  refusal += words;
  if (connection) connection->send(std::as_bytes(std::span(refusal)), until);
  guest.join();
  EXPECT_EQ(said, "?[2Jgo?");
}

TEST_F(Tcp, AnAddressThatIsNotOursIsRefused) {
  TcpOptions mine = options(0, 2);
  mine.rendezvous.host = "192.0.2.1";
  EXPECT_THROW(join(mine), base::UsageError);
  mine.rendezvous.host = "no such host";
  EXPECT_THROW(join(mine), base::UsageError);
}

}  // namespace
}  // namespace finetuned::collective
