#include "services/engine_verify.h"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <iostream>
#include <random>
#include <spawn.h>
#include <stdexcept>
#include <string>
#include <sys/wait.h>
#include <system_error>
#include <thread>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "base/sha256.h"

namespace finetuned::services {

namespace fs = std::filesystem;

namespace {

using std::chrono::steady_clock;

constexpr std::uint64_t kMostArguments = 1 << 20;   // bytes
constexpr std::uint64_t kMostManifest = 64u << 20;  // bytes
constexpr std::chrono::milliseconds kLook{5};  // no call waits for a child until a time: a kill is late by this at most

/// This process's command line, less the options in `taken_out`, each of which has a value.
std::vector<std::string> own_command(const std::vector<std::string>& taken_out) {
  const std::string raw = base::read_file("/proc/self/cmdline", kMostArguments);
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < raw.size(); begin = raw.find('\0', begin) + 1) words.emplace_back(raw.c_str() + begin);
  std::vector<std::string> kept;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto names = [&](const std::string& option) { return words[i] == option || words[i].starts_with(option + "="); };
    const auto option = std::find_if(taken_out.begin(), taken_out.end(), names);
    if (option == taken_out.end()) {
      kept.push_back(words[i]);
    } else if (words[i] == *option) {
      ++i;  // its value
    }
  }
  return kept;
}

/// A run of this program, silent but for what it says on its standard error.
class Child {
 public:
  explicit Child(const std::vector<std::string>& words) {
    std::vector<char*> arguments;
    for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
    arguments.push_back(nullptr);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
    const int error = posix_spawn(&process_, "/proc/self/exe", &files, nullptr, arguments.data(), environ);
    posix_spawn_file_actions_destroy(&files);
    if (error != 0) throw std::system_error(error, std::generic_category(), "the run cannot be begun");
  }
  ~Child() { kill(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  /// False when it has ended by then. Throws where it ended badly.
  bool runs_until(steady_clock::time_point end) {
    while (steady_clock::now() < end) {
      if (ended(WNOHANG)) return false;
      std::this_thread::sleep_for(kLook);
    }
    return true;
  }
  void wait() { ended(0); }
  void kill() {
    if (process_ <= 0) return;
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = 0;
  }

 private:
  bool ended(int how) {
    int status = 0;
    pid_t done = 0;
    while ((done = ::waitpid(process_, &status, how)) < 0 && errno == EINTR) {
    }
    if (done == 0) return false;
    process_ = 0;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
      throw std::runtime_error("--verify-resume: the run failed, with what it said above");
    return true;
  }

  pid_t process_ = 0;
};

std::vector<std::string> run_into(const fs::path& out, const fs::path& state = {}) {
  std::vector<std::string> words = own_command({"--verify-resume", "--out", "--log", "--state", "--state-steps", "--state-seconds"});
  words.insert(words.end(), {"--out", out.string()});
  if (!state.empty()) words.insert(words.end(), {"--state", state.string(), "--state-steps", "1"});
  return words;
}

std::string optimizer_of(const fs::path& out) {
  const base::json::value manifest = base::parse_json(base::read_file(out / "manifest.json", kMostManifest),
                                                      {.depth = 8, .bytes = kMostManifest});
  return std::string(manifest.at("optimizer_sha256").as_string());
}

/// A line for one thing, and whether it is the same in both.
bool compare(const std::string& what, const std::string& whole, const std::string& killed) {
  std::cout << what << ": " << (whole == killed ? "the same, " + whole : "DIFFERS: " + whole + " whole, " + killed + " killed") << "\n";
  return whole == killed;
}

bool compare_all(const fs::path& whole, const fs::path& killed) {
  bool same = compare("optimizer state", optimizer_of(whole), optimizer_of(killed));
  for (const char* name : {"adapter_model.safetensors", "model.safetensors", "step_metrics.csv", "manifest.json"})
    if (fs::exists(whole / name))
      same &= compare(name, base::sha256_file(whole / name), base::sha256_file(killed / name));
  return same;
}

class TemporaryDirectory {
 public:
  explicit TemporaryDirectory(fs::path path) : path_(std::move(path)) { fs::create_directories(path_); }
  ~TemporaryDirectory() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

void verify_resume(int kills, const fs::path& out) {
  const auto begun = steady_clock::now();
  Child(run_into(out)).wait();
  const std::chrono::duration<double> whole = steady_clock::now() - begun;
  const TemporaryDirectory beside(fs::path(out.string() + ".verify"));
  const std::vector<std::string> again = run_into(beside.path() / "out", beside.path() / "state");
  std::mt19937_64 random(std::random_device{}());
  std::uniform_real_distribution<double> part(0.1, 1.9);  // of an even share: what is done is kept, but for the last steps
  int done = 0;
  bool runs = true;
  while (runs && done < kills) {
    Child child(again);
    const auto after = whole * (part(random) / (kills + 1));
    runs = child.runs_until(steady_clock::now() + std::chrono::duration_cast<steady_clock::duration>(after));
    if (!runs) break;
    child.kill();
    ++done;
    std::cout << "kill " << done << ", after " << after.count() << " s: " << (fs::exists(beside.path() / "state") ? "it goes on from its state" : "it had no state yet") << "\n";
  }
  if (runs) Child(again).wait();
  if (done == 0) throw std::runtime_error("--verify-resume: the run is too short to be killed; give it more steps");
  if (!compare_all(out, beside.path() / "out"))
    throw std::runtime_error("--verify-resume: the killed run came out otherwise than the whole one");
  std::cout << "killed " << done << " times: the same bytes as the run that was not\n";
}

}  // namespace finetuned::services
