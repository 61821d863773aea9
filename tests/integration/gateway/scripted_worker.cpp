#include "tests/integration/gateway/scripted_worker.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <stdexcept>

#include "base/ids.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {

namespace {

constexpr int kPatienceMs = 10'000;

bool readable(int socket, int patience_ms) {
  pollfd ready{socket, POLLIN, 0};
  return ::poll(&ready, 1, patience_ms) > 0;
}

}  // namespace

bool WorkerSide::send(const std::string& bytes) {
  for (std::size_t sent = 0; sent < bytes.size();) {
    const ssize_t done = ::send(socket_.get(), bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
    if (done <= 0) return false;
    sent += static_cast<std::size_t>(done);
  }
  return true;
}

std::string WorkerSide::request() {
  std::string line;
  char piece[65536];
  while (line.find('\n') == std::string::npos && readable(socket_.get(), kPatienceMs)) {
    const ssize_t got = ::recv(socket_.get(), piece, sizeof piece, 0);
    if (got <= 0) return "";
    line.append(piece, static_cast<std::size_t>(got));
  }
  return line.substr(0, line.find('\n'));
}

bool WorkerSide::closed_by_gateway() {
  char byte = 0;
  return readable(socket_.get(), kPatienceMs) && ::recv(socket_.get(), &byte, 1, 0) == 0;
}

ScriptedWorker::ScriptedWorker(const std::string& base_model, std::int64_t free_places, Script script)
    : redis_(redis_address()), directory_(redis_), name_(base::make_id("worker")),
      path_(std::filesystem::temp_directory_path() / (name_ + ".sock")),
      listener_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)), script_(std::move(script)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
  if (::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || ::listen(listener_.get(), 16) != 0)
    throw std::runtime_error("cannot listen at " + path_.string());
  inference::Advertisement offer;
  offer.name = name_;
  offer.socket = path_;
  offer.bases = {base_model};
  offer.free_places = free_places;
  if (!directory_.advertise(offer)) throw std::runtime_error("Redis did not take the worker's advertisement");
  thread_ = std::jthread([this](const std::stop_token& stop) { serve(stop); });
}

ScriptedWorker::~ScriptedWorker() {
  directory_.withdraw(name_);
  thread_.request_stop();
  thread_.join();
  std::filesystem::remove(path_);
}

void ScriptedWorker::serve(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    if (!readable(listener_.get(), 20)) continue;
    WorkerSide side(base::FileDescriptor(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)));
    ++asked_;
    script_(side);
  }
}

}  // namespace finetuned::tests
