#include "tests/integration/supervisor/program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "tests/integration/platform/eventually.h"
#include "tests/integration/support/services.h"

namespace finetuned::tests {

namespace {

std::string content(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

/// The child's two outputs go to the files; the environment names no other platform.
pid_t spawn(const std::vector<std::string>& arguments, const std::string& out, const std::string& err) {
  std::vector<char*> words{const_cast<char*>(FINETUNED_PROGRAM)};
  for (const std::string& argument : arguments) words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  for (const char* name : {"FINETUNED_CONFIG", "FINETUNED_DATABASE_URL", "FINETUNED_DATABASE_OWNER_URL"}) ::unsetenv(name);
  ::dup2(::open(out.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600), STDOUT_FILENO);
  ::dup2(::open(err.c_str(), O_CREAT | O_WRONLY | O_APPEND, 0600), STDERR_FILENO);
  ::execv(FINETUNED_PROGRAM, words.data());
  ::_exit(127);
}

int status_of(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

}  // namespace

Outcome run_program(const std::vector<std::string>& arguments) {
  char name[] = "/tmp/finetuned_run.XXXXXX";
  const std::filesystem::path place = ::mkdtemp(name);
  const pid_t pid = spawn(arguments, place / "out", place / "err");
  int status = 0;
  ::waitpid(pid, &status, 0);
  Outcome outcome{status_of(status), content(place / "out"), content(place / "err")};
  std::filesystem::remove_all(place);
  return outcome;
}

Site::Site(const std::string& more) : config_file_(data_.path() / "finetuned.toml") {
  const std::string url = make_empty_database();
  std::ofstream(config_file_) << "data_directory = \"" << data_.path().string() << "\"\n"
                              << "[database]\nurl = \"" << application_url(url) << "\"\nowner_url = \"" << url << "\"\n"
                              << "[redis]\nsocket = \"" << redis_address().socket << "\"\n"
                              << "[gateway]\nport = 0\n"
                              << more;
  postgres::PoolOptions options;
  options.url = url;
  pool_ = std::make_unique<postgres::Pool>(options);
}

Site::~Site() {
  if (supervisor_ > 0) stop(SIGKILL);
}

Outcome Site::run(const std::vector<std::string>& arguments) const {
  std::vector<std::string> all = arguments;
  all.push_back("--config");
  all.push_back(config_file_.string());
  return run_program(all);
}

void Site::serve() {
  const std::string file = data_.path() / "log";
  supervisor_ = spawn({"serve", "--config", config_file_.string()}, file, file);
}

void Site::signal(int number) const { ::kill(supervisor_, number); }

int Site::stop(int number, double seconds) {
  signal(number);
  int status = 0;
  if (!eventually([&] { return ::waitpid(supervisor_, &status, WNOHANG) == supervisor_; }, seconds)) return -1;
  supervisor_ = -1;
  return status_of(status);
}

std::string Site::log() const { return content(data_.path() / "log"); }

pid_t Site::pid_of(const std::string& role) const {
  const std::string text = log(), begin = role + " | supervisor: started, pid ";
  const auto at = text.rfind(begin);
  return at == std::string::npos ? 0 : static_cast<pid_t>(std::atoi(text.c_str() + at + begin.size()));
}

int Site::times_started(const std::string& role) const {
  const std::string text = log(), begin = role + " | supervisor: started, pid ";
  int count = 0;
  for (auto at = text.find(begin); at != std::string::npos; at = text.find(begin, at + 1)) ++count;
  return count;
}

}  // namespace finetuned::tests
