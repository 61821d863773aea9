#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace finetuned::tests {

struct ReceivedRequest {
  std::string path;
  std::map<std::string, std::string> headers;
  std::string body;
};

/// receiver.py as a child process: an https server on `localhost:PORT`.
class Receiver {
 public:
  Receiver();
  ~Receiver();
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  std::string authority() const { return "localhost:" + port_; }
  std::string url(const std::string& path) const { return "https://" + authority() + path; }
  std::string ca_file() const { return directory_ / "cert.pem"; }
  /// What came so far, in order.
  std::vector<ReceivedRequest> requests() const;
  void forget();

 private:
  std::filesystem::path directory_;
  std::string port_;
  pid_t child_ = -1;
};

}  // namespace finetuned::tests
