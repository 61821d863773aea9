#pragma once

#include <arpa/inet.h>
#include <cstdint>
#include <functional>
#include <netinet/in.h>
#include <stdexcept>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

namespace finetuned::collective {

/// A port of 127.0.0.1 that was free a moment ago.
inline std::uint16_t free_port() {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    throw std::runtime_error("there is no free port");
  close(fd);
  return ntohs(address.sin_port);
}

/// A pipe on which one process tells another to go on.
class Signal {
 public:
  Signal() { if (pipe(ends_) != 0) throw std::runtime_error("there are no pipes"); }
  ~Signal() {
    close(ends_[0]);
    close(ends_[1]);
  }
  Signal(const Signal&) = delete;
  Signal& operator=(const Signal&) = delete;

  void give() {
    if (write(ends_[1], "x", 1) != 1) throw std::runtime_error("a pipe takes a byte");
  }
  void await() {
    char word;
    if (read(ends_[0], &word, 1) != 1) throw std::runtime_error("nobody says when to go on");
  }

 private:
  int ends_[2];
};

/// Processes that run `work(rank)` for ranks 1, 2, ...; they end with status 0 where it does not throw.
class Others {
 public:
  Others(int size, const std::function<void(int)>& work) {
    for (int rank = 1; rank < size; ++rank) {
      const pid_t process = fork();
      if (process != 0) {
        processes_.push_back(process);
        continue;
      }
      try {
        work(rank);
      } catch (const std::exception&) {
        _exit(1);
      }
      _exit(0);
    }
  }
  ~Others() { statuses(); }
  Others(const Others&) = delete;
  Others& operator=(const Others&) = delete;

  /// How they ended (as of waitpid), in rank order; waits for them.
  std::vector<int> statuses() {
    std::vector<int> all;
    for (const pid_t process : processes_) {
      int status = -1;
      waitpid(process, &status, 0);
      all.push_back(status);
    }
    processes_.clear();
    return all;
  }

 private:
  std::vector<pid_t> processes_;
};

}  // namespace finetuned::collective
