#include "tests/integration/webhooks/receiver.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "base/files.h"
#include "base/ids.h"
#include "base/json.h"

namespace finetuned::tests {

namespace fs = std::filesystem;

Receiver::Receiver() : directory_(fs::temp_directory_path() / base::make_id("receiver")) {
  fs::create_directories(directory_);
  const std::string script = std::string(FINETUNED_SOURCE_DIR) + "/tests/integration/webhooks/receiver.py";
  int ends[2];
  if (::pipe(ends) != 0) std::abort();
  child_ = ::fork();
  if (child_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::execl("/usr/bin/python3", "python3", script.c_str(), directory_.c_str(), nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  char c = 0;
  while (::read(ends[0], &c, 1) == 1 && c != '\n') port_ += c;
  ::close(ends[0]);
  if (port_.empty()) {
    std::cerr << "receiver.py did not start\n";
    std::_Exit(1);
  }
}

Receiver::~Receiver() {
  ::kill(child_, SIGKILL);
  ::waitpid(child_, nullptr, 0);
  fs::remove_all(directory_);
}

std::vector<ReceivedRequest> Receiver::requests() const {
  std::vector<ReceivedRequest> all;
  if (!fs::exists(directory_ / "requests")) return all;
  std::string text = base::read_file(directory_ / "requests", 16 << 20);
  for (std::size_t end; (end = text.find('\n')) != std::string::npos; text.erase(0, end + 1)) {
    const auto line = base::parse_json(std::string_view(text).substr(0, end));
    ReceivedRequest request{std::string(line.at("path").as_string()), {}, std::string(line.at("body").as_string())};
    for (const auto& [name, value] : line.at("headers").as_object()) request.headers[name] = value.as_string();
    all.push_back(std::move(request));
  }
  return all;
}

void Receiver::forget() { fs::remove(directory_ / "requests"); }

}  // namespace finetuned::tests
