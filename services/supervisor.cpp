#include "services/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <optional>
#include <system_error>

#include "base/expects.h"

namespace finetuned::services {

namespace {

using std::chrono::milliseconds;
using TimePoint = std::chrono::steady_clock::time_point;

constexpr std::size_t kLongestLine = 64 * 1024;

[[noreturn]] void throw_system(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

/// Writes all of `text`; what the log's reader no longer takes is lost, never a reason to stop the platform.
void write_all(int descriptor, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(descriptor, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

/// Runs in the child, between fork and exec: only async-signal-safe calls.
[[noreturn]] void become_role(const char* program, char* const* arguments, int output, const sigset_t& signals,
                              pid_t supervisor) {
  ::setpgid(0, 0);  // a terminal's Ctrl-C reaches the supervisor alone, which then drains
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != supervisor) ::_exit(1);  // it died before the line above
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  ::sigprocmask(SIG_SETMASK, &signals, nullptr);
  ::execv(program, arguments);
  constexpr char kFailed[] = "the program cannot be executed\n";
  [[maybe_unused]] const auto n = ::write(STDERR_FILENO, kFailed, sizeof kFailed - 1);
  ::_exit(127);
}

/// One role's process, its output and its next start.
class Child {
 public:
  Child(const SupervisorOptions& options, const SupervisedRole& role) : options_(options), role_(role) {}
  ~Child() { close_output(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  bool alive() const { return pid_ > 0; }
  bool reloads() const { return role_.reloads; }
  pid_t pid() const { return pid_; }
  int output() const { return output_; }
  TimePoint next_start() const { return next_start_; }

  /// Plans another try where the system refuses a pipe or a process.
  void start(const sigset_t& signals) {
    int ends[2];
    started_ = std::chrono::steady_clock::now();
    if (::pipe2(ends, O_CLOEXEC) != 0) return plan_restart(std::string("no pipe: ") + std::strerror(errno));
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    std::vector<char*> arguments{const_cast<char*>(options_.program.c_str())};
    for (const auto& argument : role_.arguments) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    const pid_t supervisor = ::getpid();
    const pid_t pid = ::fork();
    if (pid == 0) become_role(options_.program.c_str(), arguments.data(), ends[1], signals, supervisor);
    ::close(ends[1]);
    if (pid < 0) {
      ::close(ends[0]);
      return plan_restart(std::string("no process: ") + std::strerror(errno));
    }
    pid_ = pid;
    output_ = ends[0];
    say("started, pid " + std::to_string(pid_));
  }

  void signal(int number) const {
    if (alive()) ::kill(pid_, number);
  }

  /// The child's exit status (128 + signal when killed) once it has ended.
  std::optional<int> reap() {
    int status = 0;
    if (!alive() || ::waitpid(pid_, &status, WNOHANG) != pid_) return std::nullopt;
    forward_output();
    close_output();
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  void plan_restart(const std::string& why) {
    const auto now = std::chrono::steady_clock::now();
    backoff_ = now - started_ >= options_.steady_after || backoff_.count() == 0
                   ? options_.first_backoff
                   : std::min(2 * backoff_, options_.longest_backoff);
    next_start_ = now + backoff_;
    say(why + "; restarting in " + std::to_string(backoff_.count()) + " ms");
  }

  /// Reads what there is without waiting and writes its whole lines.
  void forward_output() {
    char piece[16 * 1024];
    for (;;) {
      const ssize_t n = ::read(output_, piece, sizeof piece);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        if (n == 0) close_output();
        return;
      }
      pending_.append(piece, static_cast<std::size_t>(n));
      write_lines();
    }
  }

  void say(const std::string& line) const {
    write_all(options_.log_descriptor, role_.name + " | supervisor: " + line + "\n");
  }

 private:
  void write_lines() {
    std::string lines;
    std::size_t begin = 0;
    for (auto end = pending_.find('\n'); end != std::string::npos; end = pending_.find('\n', begin)) {
      lines += role_.name + " | " + pending_.substr(begin, end - begin + 1);
      begin = end + 1;
    }
    pending_.erase(0, begin);
    if (pending_.size() > kLongestLine) {
      lines += role_.name + " | " + pending_ + "\n";
      pending_.clear();
    }
    write_all(options_.log_descriptor, lines);
  }

  void close_output() {
    if (output_ < 0) return;
    ::close(output_);
    output_ = -1;
    if (!pending_.empty()) {
      pending_ += '\n';
      write_lines();
    }
  }

  const SupervisorOptions& options_;
  const SupervisedRole& role_;
  pid_t pid_ = -1;
  int output_ = -1;
  std::string pending_;
  TimePoint started_{};
  TimePoint next_start_{};
  milliseconds backoff_{0};
};

class Supervisor {
 public:
  explicit Supervisor(const SupervisorOptions& options) : options_(options) {
    for (const auto& role : options.roles) children_.push_back(std::make_unique<Child>(options, role));
    sigemptyset(&signals_);
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGCHLD}) sigaddset(&signals_, number);
    ::signal(SIGHUP, SIG_DFL);  // nohup lets it be ignored, and what is ignored is never read
    if (::sigprocmask(SIG_BLOCK, &signals_, &former_signals_) != 0) throw_system("sigprocmask");
    signal_descriptor_ = ::signalfd(-1, &signals_, SFD_NONBLOCK | SFD_CLOEXEC);
    if (signal_descriptor_ < 0) throw_system("signalfd");
  }

  ~Supervisor() {
    ::close(signal_descriptor_);
    ::sigprocmask(SIG_SETMASK, &former_signals_, nullptr);
  }
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  int run() {
    for (;;) {
      reap_children();
      if (drain_until_ && none_alive()) return exit_status_;
      enforce_deadline();
      start_due_children();
      wait();
      hear_signals();
    }
  }

 private:
  bool none_alive() const {
    return std::none_of(children_.begin(), children_.end(), [](const auto& child) { return child->alive(); });
  }

  void start_due_children() {
    if (drain_until_) return;
    const auto now = std::chrono::steady_clock::now();
    for (const auto& child : children_)
      if (!child->alive() && child->next_start() <= now) child->start(child->reloads() ? held_signals() : former_signals_);
  }

  /// For a role that reloads: a SIGHUP that comes before it listens waits for it.
  sigset_t held_signals() const {
    sigset_t held = former_signals_;
    sigaddset(&held, SIGHUP);
    return held;
  }

  void reap_children() {
    for (const auto& child : children_) {
      const auto status = child->reap();
      if (!status) continue;
      if (drain_until_) {
        child->say("drained with status " + std::to_string(*status));
        if (*status != 0) exit_status_ = std::max(exit_status_, 1);
      } else if (*status == 2) {
        child->say("its configuration is wrong (status 2); stopping the platform");
        exit_status_ = 2;
        begin_drain();
      } else {
        child->plan_restart("ended with status " + std::to_string(*status));
      }
    }
  }

  void begin_drain() {
    drain_until_ = std::chrono::steady_clock::now() + options_.drain;
    for (const auto& child : children_) child->signal(SIGTERM);
  }

  void reload() {
    if (drain_until_) return;
    for (const auto& child : children_)
      if (child->reloads()) child->signal(SIGHUP);
  }

  void kill_all() {
    for (const auto& child : children_) child->signal(SIGKILL);
    exit_status_ = std::max(exit_status_, 1);
  }

  void enforce_deadline() {
    if (drain_until_ && std::chrono::steady_clock::now() >= *drain_until_) kill_all();
  }

  /// Until a signal, a line or the next moment something is due.
  void wait() {
    std::vector<pollfd> polled{{signal_descriptor_, POLLIN, 0}};
    std::vector<Child*> readers;
    const auto now = std::chrono::steady_clock::now();
    auto until = now + milliseconds(1000);
    if (drain_until_) until = std::min(until, std::max(*drain_until_, now + milliseconds(20)));
    for (const auto& child : children_) {
      if (child->output() >= 0) {
        polled.push_back({child->output(), POLLIN, 0});
        readers.push_back(child.get());
      }
      if (!child->alive() && !drain_until_) until = std::min(until, child->next_start());
    }
    const auto left = std::chrono::ceil<milliseconds>(until - now).count();
    const int ready = ::poll(polled.data(), polled.size(), static_cast<int>(std::max<long long>(left, 0)));
    if (ready <= 0) return;
    for (std::size_t i = 0; i < readers.size(); ++i)
      if (polled[i + 1].revents != 0) readers[i]->forward_output();
  }

  void hear_signals() {
    signalfd_siginfo info{};
    while (::read(signal_descriptor_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo == SIGCHLD) continue;
      if (info.ssi_signo == SIGHUP)
        reload();
      else if (drain_until_)
        kill_all();
      else
        begin_drain();
    }
  }

  const SupervisorOptions& options_;
  std::vector<std::unique_ptr<Child>> children_;
  sigset_t signals_{};
  sigset_t former_signals_{};
  int signal_descriptor_ = -1;
  std::optional<TimePoint> drain_until_;
  int exit_status_ = 0;
};

}  // namespace

int supervise(const SupervisorOptions& options) {
  base::expects(options.program.is_absolute() && !options.roles.empty(), "a supervisor has a program and roles");
  Supervisor supervisor(options);
  return supervisor.run();
}

}  // namespace finetuned::services
