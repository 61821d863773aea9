#include "services/cli/output.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <iostream>
#include <stdexcept>
#include <unistd.h>

namespace finetuned::cli {

void hold_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) != -1 || errno != EBADF) continue;
    // The lowest free number is the stream's. Standard output for reading alone: writing to it fails.
    const int opened = ::open("/dev/null", stream == STDERR_FILENO ? O_WRONLY : O_RDONLY);
    if (opened != stream && opened >= 0) ::close(opened);
  }
}

void flush_output() {
  std::cout.flush();
  if (!std::cout || std::ferror(stdout) != 0)
    throw std::runtime_error("standard output cannot be written: a full disk, or closed");
}

}  // namespace finetuned::cli
