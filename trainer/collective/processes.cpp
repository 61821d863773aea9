#include "trainer/collective/processes.h"

#include <cerrno>
#include <csignal>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <vector>

#include "base/errors.h"
#include "base/expects.h"
#include "trainer/collective/shared_memory.h"

namespace finetuned::collective {

namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

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
    for (Child& child : children_)
      while (!child.ended && waitpid(child.process, nullptr, 0) < 0 && errno == EINTR)
        continue;
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
    for (Child& child : children_) {
      while (!reap(child) && steady_clock::now() < deadline)
        std::this_thread::sleep_for(milliseconds(2));
    }
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

[[noreturn]] void run_child(SharedSegment& segment, int rank, pid_t parent, milliseconds timeout,
                            const std::function<void(Collective&)>& work) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);  // it ended before the line above
  try {
    SharedMemory group(segment, rank, timeout, [] {});
    work(group);
    _exit(0);
  } catch (const base::UsageError& error) {
    segment.fail(rank, SharedSegment::Kind::kRefused, error.what());
  } catch (const std::exception& error) {
    segment.fail(rank, SharedSegment::Kind::kFailed, error.what());
  }
  _exit(1);
}

}  // namespace

void run_processes(int size, milliseconds timeout, const std::function<void(Collective&)>& work) {
  base::expects(size >= 1 && size <= kMostRanks, "a group has 1 to 8 ranks");
  SharedSegment segment(size);
  const pid_t parent = getpid();
  Children children(size);
  for (int rank = 1; rank < size; ++rank) {
    const pid_t process = fork();
    if (process < 0)
      throw std::system_error(errno, std::generic_category(), "a worker process cannot be made");
    if (process == 0) run_child(segment, rank, parent, timeout, work);
    children.add(process);
  }
  SharedMemory group(segment, 0, timeout, [&children] { children.still_there(); });
  work(group);
  children.wait(std::chrono::seconds(5));
}

}  // namespace finetuned::collective
