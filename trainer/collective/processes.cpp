#include "trainer/collective/processes.h"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

#include "base/errors.h"
#include "base/files.h"
#include "base/log.h"
#include "trainer/collective/shared_memory.h"

namespace finetuned::collective {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kLastWait{5};   // for ranks that are done, as rank 0 is
constexpr std::chrono::seconds kDeathWait{30};  // for one that was killed
constexpr int kSegmentDescriptor = 3;  // of a program that was begun anew: the group's memory

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) return "was killed by signal " + std::to_string(WTERMSIG(status));
  return "ended early with status " + std::to_string(WEXITSTATUS(status));
}

/// The children of one run_processes(), ended and reaped with it.
class Children {
 public:
  explicit Children(int size) : size_(size) {}
  ~Children() {
    for (Child& child : children_)
      if (!child.ended) kill(child.process, SIGKILL);
    wait(kDeathWait);
    for (const Child& child : children_)
      if (!child.ended) base::log_error("a killed rank does not end, and is left", {{"process", child.process}});
  }
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  void add(pid_t process) { children_.push_back({process}); }

  /// Throws PeerLost for one that has ended.
  void still_there() {
    for (std::size_t i = 0; i < children_.size(); ++i) {
      if (!reap(children_[i])) continue;
      throw PeerLost(rank_name(static_cast<int>(i) + 1, size_) + " (process " +
                     std::to_string(children_[i].process) + ") " + how_it_ended(children_[i].status));
    }
  }

  /// Until all have ended by themselves, for at most `limit`.
  void wait(milliseconds limit) {
    const steady_clock::time_point deadline = steady_clock::now() + limit;
    for (Child& child : children_)
      while (!reap(child) && steady_clock::now() < deadline) std::this_thread::sleep_for(milliseconds(2));
  }

 private:
  struct Child {
    pid_t process;
    bool ended = false;
    int status = 0;
  };
  /// Whether it has ended.
  static bool reap(Child& child) {
    if (child.ended) return true;
    const pid_t found = waitpid(child.process, &child.status, WNOHANG);
    child.ended = found == child.process || (found < 0 && errno == ECHILD);  // the system may have reaped it
    return child.ended;
  }

  int size_;
  std::vector<Child> children_;
};

/// Ends with `parent`. Returns the exit status.
int work_as(SharedSegment& segment, int rank, pid_t parent, milliseconds timeout, const std::function<void(Collective&)>& work) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) return 1;  // it ended before the line above
  try {
    SharedMemory group(segment, rank, timeout, [] {});
    work(group);
    return 0;
  } catch (const base::UsageError& error) {
    segment.fail(rank, SharedSegment::Kind::kRefused, error.what());
  } catch (const std::exception& error) {
    segment.fail(rank, SharedSegment::Kind::kFailed, error.what());
  }
  return 1;
}

[[noreturn]] void refuse_start(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), "a worker process cannot be made: " + what);
}

/// What a new program is given beside its arguments.
class FileActions {
 public:
  FileActions() { check(posix_spawn_file_actions_init(&actions_)); }
  ~FileActions() { posix_spawn_file_actions_destroy(&actions_); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;

  void give(int descriptor, int as) { check(posix_spawn_file_actions_adddup2(&actions_, descriptor, as)); }
  void close_from(int descriptor) { check(posix_spawn_file_actions_addclosefrom_np(&actions_, descriptor)); }
  const posix_spawn_file_actions_t* get() const { return &actions_; }

 private:
  static void check(int error) {
    if (error != 0) refuse_start(error, "its descriptors");
  }

  posix_spawn_file_actions_t actions_;
};

pid_t begin_program(const Command& command, int segment) {
  FileActions files;
  files.give(segment, kSegmentDescriptor);
  files.close_from(kSegmentDescriptor + 1);
  std::vector<std::string> words{command.program.string()};
  words.insert(words.end(), command.arguments.begin(), command.arguments.end());
  std::vector<char*> pointers;
  for (std::string& word : words) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  pid_t process = 0;
  const int error = posix_spawn(&process, command.program.c_str(), files.get(), nullptr, pointers.data(), environ);
  if (error != 0) refuse_start(error, command.program.string());
  return process;
}

/// Rank 0, in this process.
void lead(SharedSegment& segment, Children& children, milliseconds timeout, const std::function<void(Collective&)>& work,
          const std::function<void(Collective&)>& watch) {
  SharedMemory group(segment, 0, timeout, [&] {
    if (watch) watch(group);
    children.still_there();
  });
  work(group);
  children.wait(kLastWait);
}

}  // namespace

void run_processes(int size, milliseconds timeout, const std::function<void(Collective&)>& work) {
  SharedSegment segment(size);
  const pid_t parent = getpid();
  Children children(size);
  for (int rank = 1; rank < size; ++rank) {
    const pid_t process = fork();
    if (process < 0) refuse_start(errno, "fork");
    if (process == 0) _exit(work_as(segment, rank, parent, timeout, work));
    children.add(process);
  }
  lead(segment, children, timeout, work, {});
}

void run_programs(int size, milliseconds timeout, const std::function<Command(int rank)>& command,
                  const std::function<void(Collective&)>& work, const std::function<void(Collective&)>& watch) {
  SharedSegment segment(size);
  // dup2() onto itself would leave it to be closed by exec.
  const base::FileDescriptor given(fcntl(segment.descriptor(), F_DUPFD_CLOEXEC, kSegmentDescriptor + 1));
  if (!given.valid()) refuse_start(errno, "its descriptors");
  Children children(size);
  for (int rank = 1; rank < size; ++rank) children.add(begin_program(command(rank), given.get()));
  lead(segment, children, timeout, work, watch);
}

int take_part(int rank, milliseconds timeout, const std::function<void(Collective&)>& work) {
  SharedSegment segment{base::FileDescriptor(kSegmentDescriptor)};
  fcntl(kSegmentDescriptor, F_SETFD, FD_CLOEXEC);
  signal(SIGINT, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
  return work_as(segment, rank, segment.owner(), timeout, work);
}

}  // namespace finetuned::collective
