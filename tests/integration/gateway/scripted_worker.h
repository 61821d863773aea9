#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "base/files.h"
#include "services/inference/directory.h"
#include "services/inference/wire.h"

namespace finetuned::tests {

/// The other end of one request, for faults that a sound worker does not show: what is sent is up to the test.
class WorkerSide {
 public:
  explicit WorkerSide(base::FileDescriptor socket) : socket_(std::move(socket)) {}
  /// False once the gateway has closed.
  bool send(const std::string& bytes);
  bool send(const inference::AnswerLine& line) { return send(inference::serialise(line)); }
  /// The request's line; empty where it does not come.
  std::string request();
  /// Whether the gateway closes within ten seconds.
  bool closed_by_gateway();

 private:
  base::FileDescriptor socket_;
};

/// Listens on a unix socket and is in the directory as long as it lives. Each connection runs the script, one at a time.
class ScriptedWorker {
 public:
  using Script = std::function<void(WorkerSide&)>;
  /// `free_places` decides who is asked first: the larger.
  ScriptedWorker(const std::string& base_model, std::int64_t free_places, Script script);
  ~ScriptedWorker();
  int asked() const { return asked_; }

 private:
  void serve(const std::stop_token& stop);

  redis::Client redis_;
  inference::Directory directory_;
  std::string name_;
  std::filesystem::path path_;
  base::FileDescriptor listener_;
  Script script_;
  std::atomic<int> asked_{0};
  std::jthread thread_;
};

}  // namespace finetuned::tests
