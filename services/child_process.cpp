#include "services/child_process.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace finetuned::services {

void run_program(const std::vector<std::string>& words, const std::map<std::string, std::string>& variables) {
  std::vector<std::string> entries;
  for (char** entry = environ; *entry; ++entry) {
    const std::string text = *entry;
    if (!variables.contains(text.substr(0, text.find('=')))) entries.push_back(text);
  }
  for (const auto& [name, value] : variables) entries.push_back(name + "=" + value);
  std::vector<char*> arguments, environment;
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  for (const std::string& entry : entries) environment.push_back(const_cast<char*>(entry.c_str()));
  arguments.push_back(nullptr);
  environment.push_back(nullptr);
  pid_t pid = 0;
  const int failed = ::posix_spawnp(&pid, words.front().c_str(), nullptr, nullptr, arguments.data(), environment.data());
  if (failed != 0)
    throw std::runtime_error(words.front() + " cannot be run: " + std::generic_category().message(failed) +
                             " (it comes with PostgreSQL: put its programs on PATH)");
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) throw std::system_error(errno, std::generic_category(), "wait for " + words.front());
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw std::runtime_error(words.front() + " failed; what it said stands above");
}

}  // namespace finetuned::services
