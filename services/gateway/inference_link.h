#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/files.h"
#include "services/gateway/http.h"
#include "services/inference/wire.h"

namespace finetuned::gateway {

/// A worker of the inference service cannot be reached, went away, or talks nonsense.
struct WorkerGone : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// One request to a worker, over its unix socket. Nothing here blocks. Destroying it cancels the request.
class InferenceLink {
 public:
  /// Throws WorkerGone where nobody listens.
  InferenceLink(const std::string& socket_path, const inference::InferenceRequest& request);

  /// The lines that have come since, in order; empty where there are none yet. Throws WorkerGone.
  std::vector<inference::AnswerLine> read();
  Wait wait() const;

 private:
  void send_some();
  bool receive_some();
  std::vector<inference::AnswerLine> take_lines();

  base::FileDescriptor socket_;
  std::string unsent_;
  std::size_t sent_ = 0;
  std::string buffer_;  ///< received, without a line's end yet
  std::string fault_;    ///< why no more lines can come; told behind those that did
};

}  // namespace finetuned::gateway
