#include "services/supervisor.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <sstream>
#include <thread>

namespace finetuned::services {
namespace {

using std::chrono::milliseconds;

/// A supervisor over shell scripts, in its own process, its log in a file.
class SupervisorTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/supervisor_test.XXXXXX";
    directory_ = ::mkdtemp(name);
    options_.program = "/bin/sh";
    options_.first_backoff = milliseconds(50);
    options_.longest_backoff = milliseconds(400);
    options_.drain = milliseconds(3000);
  }

  void TearDown() override {
    if (supervisor_ > 0) {
      ::kill(supervisor_, SIGKILL);
      ::waitpid(supervisor_, nullptr, 0);
    }
    std::filesystem::remove_all(directory_);
  }

  void add(const std::string& name, const std::string& script) { options_.roles.push_back({name, {"-c", script}}); }

  void start() {
    supervisor_ = ::fork();
    ASSERT_GE(supervisor_, 0);
    if (supervisor_ > 0) return;
    options_.log_descriptor = ::open(log_file().c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600);
    ::_exit(supervise(options_));
  }

  std::filesystem::path log_file() const { return directory_ / "log"; }
  std::string log() const {
    std::ifstream in(log_file());
    std::stringstream text;
    text << in.rdbuf();
    return text.str();
  }

  bool eventually(const std::function<bool()>& holds, milliseconds limit = milliseconds(5000)) const {
    const auto end = std::chrono::steady_clock::now() + limit;
    while (std::chrono::steady_clock::now() < end) {
      if (holds()) return true;
      std::this_thread::sleep_for(milliseconds(10));
    }
    return holds();
  }

  bool logged(const std::string& text) const {
    return eventually([&] { return log().find(text) != std::string::npos; });
  }

  /// The supervisor's exit status; -1 when it does not end in time.
  int ended() {
    int status = 0;
    const bool done = eventually([&] { return ::waitpid(supervisor_, &status, WNOHANG) == supervisor_; },
                                 milliseconds(8000));
    if (!done) return -1;
    supervisor_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  /// What a role's script wrote as its process id by `echo $$ > pid`.
  pid_t pid_in(const std::string& file) const {
    std::ifstream in(directory_ / file);
    pid_t pid = 0;
    in >> pid;
    return pid;
  }

  /// Ended, whether or not the process that adopted it has read its status yet.
  static bool gone(pid_t pid) {
    std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
    std::string number, name, state;
    return !(in >> number >> name >> state) || state == "Z";
  }

  std::filesystem::path directory_;
  SupervisorOptions options_;
  pid_t supervisor_ = -1;
};

TEST_F(SupervisorTest, PrefixesWholeLinesOfEveryRole) {
  add("one", "printf 'half '; sleep 0.2; echo 'a line'; echo fault >&2; sleep 60");
  add("two", "printf 'no newline'; sleep 60");
  start();
  EXPECT_TRUE(logged("one | half a line\n"));
  EXPECT_TRUE(logged("one | fault\n"));
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(ended(), 1);  // sh dies of SIGTERM: not a clean drain
  EXPECT_THAT(log(), testing::HasSubstr("two | no newline\n"));
}

TEST_F(SupervisorTest, RestartsAKilledRoleAndLeavesTheOthers) {
  add("killed", "echo $$ > " + (directory_ / "pid").string() + "; echo up; exec sleep 60");
  add("other", "echo $$ > " + (directory_ / "other").string() + "; exec sleep 60");
  start();
  ASSERT_TRUE(eventually([&] { return pid_in("pid") > 0 && pid_in("other") > 0; }));
  const pid_t first = pid_in("pid");
  const pid_t other = pid_in("other");
  ::kill(first, SIGKILL);
  EXPECT_TRUE(eventually([&] { return pid_in("pid") > 0 && pid_in("pid") != first; }));
  EXPECT_TRUE(logged("killed | supervisor: ended with status 137"));
  EXPECT_EQ(pid_in("other"), other);
}

TEST_F(SupervisorTest, BacksOffFromARoleThatDiesAtOnce) {
  add("broken", "exit 1");
  start();
  EXPECT_TRUE(logged("restarting in 50 ms"));
  EXPECT_TRUE(logged("restarting in 100 ms"));
  EXPECT_TRUE(logged("restarting in 400 ms"));
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(ended(), 0);
}

TEST_F(SupervisorTest, DrainsEveryRoleBeforeItLeaves) {
  add("slow", "trap 'sleep 0.3; echo drained; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
  start();
  ASSERT_TRUE(logged("slow | ready"));
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(ended(), 0);
  EXPECT_THAT(log(), testing::HasSubstr("slow | drained\n"));
}

TEST_F(SupervisorTest, KillsWhatOutlivesTheDeadline) {
  options_.drain = milliseconds(300);
  add("deaf", "trap '' TERM; echo $$ > " + (directory_ / "pid").string() + "; echo ready; while :; do sleep 0.05; done");
  start();
  ASSERT_TRUE(logged("deaf | ready"));
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(ended(), 1);
  EXPECT_TRUE(gone(pid_in("pid")));
}

TEST_F(SupervisorTest, ASecondSignalForces) {
  options_.drain = milliseconds(60'000);
  add("deaf", "trap '' TERM; echo ready; while :; do sleep 0.05; done");
  start();
  ASSERT_TRUE(logged("deaf | ready"));
  ::kill(supervisor_, SIGTERM);
  std::this_thread::sleep_for(milliseconds(100));
  ::kill(supervisor_, SIGINT);
  EXPECT_EQ(ended(), 1);
}

TEST_F(SupervisorTest, AHangupReachesTheRolesThatReloadAlone) {
  add("deaf", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done");
  add("hears", "trap 'exit 0' TERM; trap 'echo reloaded' HUP; echo ready; while :; do sleep 0.05; done");
  options_.roles.back().reloads = true;
  ::signal(SIGHUP, SIG_IGN);  // as nohup begins it
  start();
  ::signal(SIGHUP, SIG_DFL);
  ASSERT_TRUE(logged("deaf | ready"));
  ASSERT_TRUE(logged("hears | ready"));
  ::kill(supervisor_, SIGHUP);
  EXPECT_TRUE(logged("hears | reloaded"));
  ::kill(supervisor_, SIGTERM);
  EXPECT_EQ(ended(), 0);
  EXPECT_EQ(log().find("restarting"), std::string::npos) << log();
}

TEST_F(SupervisorTest, AHangupDoesNotForceADrain) {
  add("slow", "trap 'sleep 0.5; echo drained; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
  options_.roles.back().reloads = true;
  start();
  ASSERT_TRUE(logged("slow | ready"));
  ::kill(supervisor_, SIGTERM);
  std::this_thread::sleep_for(milliseconds(100));
  ::kill(supervisor_, SIGHUP);
  EXPECT_EQ(ended(), 0);
  EXPECT_THAT(log(), testing::HasSubstr("slow | drained\n"));
}

TEST_F(SupervisorTest, AWrongConfigurationStopsThePlatform) {
  add("misconfigured", "echo 'http.port: 70000 is beyond 65535' >&2; exit 2");
  add("fine", "trap 'exit 0' TERM; while :; do sleep 0.05; done");
  start();
  EXPECT_EQ(ended(), 2);
  EXPECT_THAT(log(), testing::HasSubstr("misconfigured | http.port: 70000 is beyond 65535\n"));
}

TEST_F(SupervisorTest, AKilledSupervisorLeavesNoOrphans) {
  add("child", "trap '' TERM; echo $$ > " + (directory_ / "pid").string() + "; echo ready; while :; do sleep 0.05; done");
  start();
  ASSERT_TRUE(logged("child | ready"));
  const pid_t child = pid_in("pid");
  ::kill(supervisor_, SIGKILL);
  ::waitpid(supervisor_, nullptr, 0);
  supervisor_ = -1;
  EXPECT_TRUE(eventually([&] { return gone(child); }));
}

}  // namespace
}  // namespace finetuned::services
