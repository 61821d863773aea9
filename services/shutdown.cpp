#include "services/shutdown.h"

#include <signal.h>
#include <unistd.h>

#include <string_view>
#include <thread>

#include "base/expects.h"
#include "base/log.h"

namespace finetuned::services {

struct Shutdown::State {
  std::stop_source source;
  sigset_t signals{};
  std::chrono::milliseconds drain;
  std::jthread listener;

  explicit State(std::chrono::milliseconds drain_limit) : drain(drain_limit) {
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGUSR2);  // wakes the listener when the process ends by itself
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
    } while (signal == SIGUSR2);
    base::log_info("draining after a signal; a second one forces",
                   {{"signal", signal}, {"deadline_ms", std::int64_t{drain.count()}}});
    source.request_stop();
    const timespec limit{.tv_sec = drain.count() / 1000, .tv_nsec = (drain.count() % 1000) * 1'000'000};
    signal = sigtimedwait(&signals, nullptr, &limit);
    if (done.stop_requested()) return;
    constexpr std::string_view kForced = "finetuned: left at once: the drain was cut short or took too long\n";
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, kForced.data(), kForced.size());
    ::_exit(1);
  }
};

Shutdown::Shutdown(std::chrono::milliseconds drain) : state_(std::make_unique<State>(drain)) {}
Shutdown::~Shutdown() = default;

std::stop_token Shutdown::token() const { return state_->source.get_token(); }

}  // namespace finetuned::services
