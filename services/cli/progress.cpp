#include "services/cli/progress.h"

#include <cstdio>
#include <sys/ioctl.h>
#include <unistd.h>

namespace finetuned::cli {

ProgressLine::ProgressLine() : terminal_(isatty(STDERR_FILENO) == 1) {}

ProgressLine::~ProgressLine() {
  if (line_open_) std::fputc('\n', stderr);
}

int ProgressLine::width() const {
  winsize size{};
  if (terminal_ && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20) return size.ws_col - 1;
  return 100;
}

void ProgressLine::show(const std::string& text) {
  if (text == last_) return;
  last_ = text;
  if (terminal_) {
    std::fprintf(stderr, "\r%s\x1b[K", text.substr(0, static_cast<std::size_t>(width())).c_str());
    std::fflush(stderr);
    line_open_ = true;
    return;
  }
  const auto now = std::chrono::steady_clock::now();
  if (now < next_plain_) return;
  next_plain_ = now + kPlainEvery;
  std::fprintf(stderr, "%s\n", text.c_str());
}

void ProgressLine::note(const std::string& text) {
  std::fprintf(stderr, "%s%s%s\n", line_open_ ? "\r" : "", text.c_str(), line_open_ ? "\x1b[K" : "");
  line_open_ = false;
  last_.clear();
}

void ProgressLine::end(const std::string& text) {
  next_plain_ = {};
  last_.clear();
  show(text);
  if (line_open_) std::fputc('\n', stderr);
  line_open_ = false;
}

}  // namespace finetuned::cli
