#include "tests/integration/support/private_redis.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

namespace finetuned::tests {

using namespace std::chrono_literals;

PrivateRedis::PrivateRedis() {
  std::string pattern = "/tmp/ftredis.XXXXXX";
  directory_ = mkdtemp(pattern.data());
  start();
}

PrivateRedis::~PrivateRedis() {
  kill_hard();
  std::filesystem::remove_all(directory_);
}

redis::Address PrivateRedis::address() const { return {.socket = directory_ / "s", .host = "", .port = 0, .timeout = 500ms}; }

void PrivateRedis::start() {
  const std::string socket = directory_ / "s";
  pid_ = fork();
  if (pid_ == 0) {
    execlp("redis-server", "redis-server", "--port", "0", "--unixsocket", socket.c_str(), "--dir", directory_.c_str(),
           "--save", "", "--loglevel", "warning", "--logfile", "/dev/null", nullptr);
    _exit(127);
  }
  redis::Client client(address());
  for (int i = 0; i < 200 && !client.ping(); ++i) std::this_thread::sleep_for(25ms);
}

void PrivateRedis::kill_hard() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

}  // namespace finetuned::tests
