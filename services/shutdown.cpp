#include "services/shutdown.h"

#include <signal.h>
#include <unistd.h>

#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

#include "base/expects.h"
#include "base/log.h"

namespace finetuned::services {

struct Shutdown::State {
  std::stop_source source;
  sigset_t signals{};
  std::chrono::milliseconds drain;
  std::mutex reload_mutex;  // of the next two; held in a call
  std::function<void()> reload;
  bool hung_up = false;  // before there was a `reload`
  std::jthread listener;

  explicit State(std::chrono::milliseconds drain_limit) : drain(drain_limit) {
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR2);  // wakes the listener when the process ends by itself
    ::signal(SIGHUP, SIG_DFL);  // nohup lets it be ignored, and what is ignored cannot be waited for
    base::expects(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0, "signals can be blocked");
    listener = std::jthread([this](const std::stop_token& done) { listen(done); });
  }

  ~State() {
    listener.request_stop();
    pthread_kill(listener.native_handle(), SIGUSR2);
  }

  void listen(const std::stop_token& done) {
    int signal = 0;
    do {
      sigwait(&signals, &signal);
      if (done.stop_requested()) return;
      if (signal == SIGHUP) hang_up();
    } while (signal == SIGUSR2 || signal == SIGHUP);
    base::log_info("draining after a signal; a second one forces",
                   {{"signal", signal}, {"deadline_ms", std::int64_t{drain.count()}}});
    source.request_stop();
    sigdelset(&signals, SIGHUP);  // it stays blocked
    const timespec limit{.tv_sec = drain.count() / 1000, .tv_nsec = (drain.count() % 1000) * 1'000'000};
    signal = sigtimedwait(&signals, nullptr, &limit);
    if (done.stop_requested()) return;
    constexpr std::string_view kForced = "finetuned: left at once: the drain was cut short or took too long\n";
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kForced.data(), kForced.size());
    ::_exit(1);
  }

  void hang_up() {
    const std::lock_guard lock(reload_mutex);
    hung_up = !reload;
    if (reload) reload();
  }
};

Shutdown::Shutdown(std::chrono::milliseconds drain) : state_(std::make_unique<State>(drain)) {}
Shutdown::~Shutdown() = default;

void Shutdown::on_hangup(std::function<void()> reload) {
  const std::lock_guard lock(state_->reload_mutex);
  state_->reload = std::move(reload);
  if (state_->reload && std::exchange(state_->hung_up, false)) state_->reload();
}

std::stop_token Shutdown::token() const { return state_->source.get_token(); }

}  // namespace finetuned::services
