#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "storage/postgres/pool.h"
#include "tests/integration/platform/data_directory.h"

namespace finetuned::tests {

/// What a command said and how it ended.
struct Outcome {
  int status = -1;  ///< exit status; 128 + signal when killed
  std::string out;
  std::string err;
};

/// A site of a test's own: an empty database, a data directory and a configuration file, and the program run on them.
class Site {
 public:
  /// `more` is added to the configuration.
  explicit Site(const std::string& more = "");
  ~Site();
  Site(const Site&) = delete;
  Site& operator=(const Site&) = delete;

  /// Runs `finetuned ARGUMENTS... --config FILE` to its end.
  Outcome run(const std::vector<std::string>& arguments) const;

  /// Starts `finetuned serve`, its log in log().
  void serve();
  void signal(int number) const;
  /// Sends a signal to the supervisor and waits for its end; its exit status, -1 when it takes longer than `seconds`.
  int stop(int number, double seconds = 40);
  std::string log() const;
  /// The process that the supervisor started last for a role; 0 before.
  pid_t pid_of(const std::string& role) const;
  int times_started(const std::string& role) const;

  const std::filesystem::path& config_file() const { return config_file_; }
  DataDirectory& data() { return data_; }
  postgres::Pool& pool() { return *pool_; }

 private:
  DataDirectory data_;
  std::filesystem::path config_file_;
  std::unique_ptr<postgres::Pool> pool_;
  pid_t supervisor_ = -1;
};

/// Runs the program with exactly these arguments.
Outcome run_program(const std::vector<std::string>& arguments);

}  // namespace finetuned::tests
