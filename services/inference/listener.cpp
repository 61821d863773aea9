#include "services/inference/listener.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/errors.h"
#include "base/log.h"

namespace finetuned::inference {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kMostPathBytes = sizeof(sockaddr_un::sun_path) - 1;
constexpr int kBacklog = 128;
constexpr const char* kPrefix = "inference-";

sockaddr_un address_of(const fs::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), path.native().size());
  return address;
}

base::FileDescriptor make_socket(const fs::path& path) {
  base::FileDescriptor made(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!made.valid()) base::throw_errno("socket", path);
  return made;
}

/// Whether nobody listens there any more.
bool is_dead(const fs::path& path) {
  const sockaddr_un address = address_of(path);
  const base::FileDescriptor probe = make_socket(path);
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 && errno == ECONNREFUSED;
}

/// Those of other hosts stay: where they share the directory, a socket of theirs looks dead from here.
void remove_dead(const fs::path& directory, const std::string& name) {
  const std::string start = kPrefix + name.substr(0, name.rfind(':') + 1);
  for (const auto& entry : fs::directory_iterator(directory)) {
    const std::string file = entry.path().filename();
    if (!entry.is_socket() || !file.starts_with(start) || entry.path().native().size() > kMostPathBytes) continue;
    if (!is_dead(entry.path())) continue;
    std::error_code gone;
    if (fs::remove(entry.path(), gone)) base::log_info("removed a dead process's socket", {{"socket", file}});
  }
}

}  // namespace

Listener::Listener(const fs::path& directory, const std::string& name) : path_(directory / (kPrefix + name + ".sock")) {
  if (path_.native().size() > kMostPathBytes)
    throw base::ConfigError("data_directory: the inference service's socket would be " + path_.string() + ", of " +
                            std::to_string(path_.native().size()) + " bytes; a unix socket's path has at most " +
                            std::to_string(kMostPathBytes) + ": choose a shorter data_directory");
  fs::create_directories(directory);
  fs::permissions(directory, fs::perms::owner_all);
  remove_dead(directory, name);
  socket_ = make_socket(path_);
  const sockaddr_un address = address_of(path_);
  if (::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) base::throw_errno("bind", path_);
  if (::chmod(path_.c_str(), 0600) != 0) base::throw_errno("chmod", path_);
  if (::listen(socket_.get(), kBacklog) != 0) base::throw_errno("listen", path_);
}

Listener::~Listener() {
  if (socket_.valid()) ::unlink(path_.c_str());
}

base::FileDescriptor Listener::accept() const {
  return base::FileDescriptor(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
}

}  // namespace finetuned::inference
