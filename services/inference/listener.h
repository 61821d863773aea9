#pragma once

#include <filesystem>
#include <string>

#include "base/files.h"

namespace finetuned::inference {

/// The socket that a service is reached by: `DIRECTORY/inference-NAME.sock`, mode 0600 in a directory of mode 0700, both
/// made here; the file is gone at the end. NAME is HOST:PID.
class Listener {
 public:
  /// Removes sockets that dead processes of this host left in the directory. Throws base::ConfigError where the path is longer
  /// than a unix socket's may be (107 bytes), base::FileError where the system refuses.
  Listener(const std::filesystem::path& directory, const std::string& name);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  int fd() const { return socket_.get(); }
  const std::filesystem::path& path() const { return path_; }
  /// A connection that waits; not valid where there is none.
  base::FileDescriptor accept() const;

 private:
  std::filesystem::path path_;
  base::FileDescriptor socket_;
};

}  // namespace finetuned::inference
