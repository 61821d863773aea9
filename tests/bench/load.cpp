// An HTTP client that asks as fast as it is answered, or at a rate, over connections that stay open: one thread, so that
// it costs every server alike.
//
//     bench_load PORT CONNECTIONS SECONDS REQUESTS [RATE]
//
// REQUESTS is a file of `METHOD TARGET KEY [BODY]`, a line each (KEY `-`: none), which are sent by turns to 127.0.0.1.
// A connection has one request under way at a time. Without RATE every answer is followed by the next request at once.
// With it (requests a second) they fall due evenly, and one that finds no free connection waits: its latency counts
// from when it was due. Answers must have a Content-Length and keep the connection open.
//
// Prints a JSON line: requests, seconds, per_second, statuses, latencies in ms (p50, p99, p999, most), bytes of the last
// answer's body. Exit 1, with a word on standard error, where a connection ends or an answer cannot be read.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

std::vector<std::string> read_requests(const char* path) {
  std::ifstream file(path);
  std::vector<std::string> requests;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string method, target, key, body;
    words >> method >> target >> key >> std::ws;
    std::getline(words, body);
    std::string text = method + " " + target + " HTTP/1.1\r\nHost: 127.0.0.1\r\n";
    if (key != "-") text += "Authorization: Bearer " + key + "\r\n";
    if (!body.empty()) text += "Content-Type: application/json\r\nContent-Length: " + std::to_string(body.size()) + "\r\n";
    requests.push_back(text + "\r\n" + body);
  }
  if (requests.empty()) throw std::runtime_error(std::string(path) + " has no requests");
  return requests;
}

/// A blocking socket: a request is small enough for an empty send buffer, and reading waits for epoll's word.
int connect_to(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw std::runtime_error("cannot connect to port " + std::to_string(port) + ": " + std::strerror(errno));
  return fd;
}

struct Answer {
  int status = 0;
  std::size_t body_bytes = 0;
  std::size_t bytes = 0;  ///< of head and body; 0: not whole yet
};

Answer read_answer(std::string_view text) {
  const auto head_end = text.find("\r\n\r\n");
  if (head_end == std::string_view::npos) return {};
  Answer answer;
  std::from_chars(text.data() + sizeof "HTTP/1.1", text.data() + head_end, answer.status);
  static constexpr std::string_view name = "\r\ncontent-length:";
  const auto same = [](char a, char b) { return (a | 0x20) == (b | 0x20); };
  const auto* head = text.data() + head_end;
  const auto* found = std::search(text.data(), head, name.begin(), name.end(), same);
  if (found == head) throw std::runtime_error("an answer has no Content-Length: " + std::string(text.substr(0, head_end)));
  found += name.size();
  while (*found == ' ') ++found;
  std::from_chars(found, head, answer.body_bytes);
  const std::size_t whole = head_end + 4 + answer.body_bytes;
  if (text.size() >= whole) answer.bytes = whole;
  return answer;
}

class Load {
 public:
  Load(int port, int connections, std::vector<std::string> requests, double rate)
      : requests_(std::move(requests)), rate_(rate), poll_(epoll_create1(0)), connections_(static_cast<std::size_t>(connections)) {
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      connections_[i].fd = connect_to(port);
      epoll_event event{};
      event.events = EPOLLIN;
      event.data.u64 = i;
      if (epoll_ctl(poll_, EPOLL_CTL_ADD, connections_[i].fd, &event) != 0) throw std::runtime_error("epoll_ctl failed");
      free_.push_back(i);
    }
  }

  /// Asks until the time is over, then waits for what is under way. What was answered before `warm_up` counts for nothing.
  void run(Clock::duration warm_up, Clock::duration time) {
    next_due_ = Clock::now();
    count_from_ = next_due_ + warm_up;
    end_ = count_from_ + time;
    for (;;) {
      const auto now = Clock::now();
      if (now < end_) begin_due(now);
      if (now >= end_ && free_.size() == connections_.size()) return;
      if (now > end_ + std::chrono::seconds(30)) throw std::runtime_error("requests are not answered for 30 s");
      epoll_event events[256];
      const int count = epoll_wait(poll_, events, 256, patience(now));
      for (int i = 0; i < count; ++i) receive(events[i].data.u64);
    }
  }

  void print(double seconds) {
    std::sort(micros_.begin(), micros_.end());
    const auto at = [&](double share) {
      if (micros_.empty()) return 0.0;
      return static_cast<double>(micros_[static_cast<std::size_t>(share * static_cast<double>(micros_.size() - 1))]) / 1000;
    };
    std::string statuses;
    for (const auto& [status, count] : statuses_)
      statuses += (statuses.empty() ? "" : ", ") + ("\"" + std::to_string(status)) + "\": " + std::to_string(count);
    std::printf("{\"requests\": %zu, \"seconds\": %.3f, \"per_second\": %.1f, \"statuses\": {%s}, \"p50\": %.3f, \"p99\": %.3f,"
                " \"p999\": %.3f, \"most\": %.3f, \"body_bytes\": %zu}\n",
                micros_.size(), seconds, static_cast<double>(micros_.size()) / seconds, statuses.c_str(), at(0.5), at(0.99),
                at(0.999), at(1), body_bytes_);
  }

 private:
  struct Connection {
    int fd = -1;
    Clock::time_point due;
    std::string arrived;
  };

  void begin_due(Clock::time_point now) {
    if (rate_ > 0) {
      const auto step = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(1 / rate_));
      for (; next_due_ <= now; next_due_ += step) waiting_.push_back(next_due_);
    }
    while (!free_.empty() && (rate_ <= 0 || !waiting_.empty())) {
      Connection& connection = connections_[free_.front()];
      free_.pop_front();
      connection.due = now;
      if (rate_ > 0) {
        connection.due = waiting_.front();
        waiting_.pop_front();
      }
      send_next(connection);
    }
  }

  int patience(Clock::time_point now) const {
    if (rate_ <= 0 || now >= end_) return 1000;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(next_due_ - now).count();
    return static_cast<int>(std::clamp<std::int64_t>(left + (left > 0), 0, 1000));
  }

  void send_next(Connection& connection) {
    const std::string& text = requests_[next_request_++ % requests_.size()];
    if (send(connection.fd, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size()))
      throw std::runtime_error(std::string("a request could not be sent: ") + std::strerror(errno));
  }

  void receive(std::size_t index) {
    Connection& connection = connections_[index];
    char bytes[16384];
    const ssize_t got = recv(connection.fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got <= 0) throw std::runtime_error("the server ended a connection");
    connection.arrived.append(bytes, static_cast<std::size_t>(got));
    const Answer answer = read_answer(connection.arrived);
    if (answer.bytes == 0) return;
    if (answer.bytes != connection.arrived.size()) throw std::runtime_error("more was answered than was asked");
    connection.arrived.clear();
    count(answer, connection.due);
    const auto now = Clock::now();
    if (rate_ > 0 || now >= end_) {
      free_.push_back(index);
      return;
    }
    connection.due = now;
    send_next(connection);
  }

  void count(const Answer& answer, Clock::time_point due) {
    const auto now = Clock::now();
    if (now < count_from_ || now > end_) return;
    ++statuses_[answer.status];
    body_bytes_ = answer.body_bytes;
    micros_.push_back(static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::microseconds>(now - due).count()));
  }

  const std::vector<std::string> requests_;
  const double rate_;
  const int poll_;
  std::vector<Connection> connections_;
  std::deque<std::size_t> free_;
  std::deque<Clock::time_point> waiting_;  ///< when requests that no connection was free for fell due
  Clock::time_point next_due_, count_from_, end_;
  std::size_t next_request_ = 0;
  std::map<int, std::size_t> statuses_;
  std::vector<std::uint32_t> micros_;
  std::size_t body_bytes_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5 || argc > 6) {
    std::fprintf(stderr, "usage: bench_load PORT CONNECTIONS SECONDS REQUESTS [RATE]\n");
    return 2;
  }
  try {
    const double seconds = std::atof(argv[3]);
    Load load(std::atoi(argv[1]), std::atoi(argv[2]), read_requests(argv[4]), argc == 6 ? std::atof(argv[5]) : 0);
    const auto time = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
    load.run(time / 10, time);
    load.print(seconds);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bench_load: %s\n", error.what());
    return 1;
  }
}
