#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/files.h"
#include "services/inference/call.h"

namespace finetuned::inference {

/// A client's connection, on a thread of its own. Nothing here throws for the client's sake.
class Connection {
 public:
  explicit Connection(base::FileDescriptor socket) : socket_(std::move(socket)) {}

  /// The request's line without its end. Absent where the client went away, or was too slow. Throws ApiError 413 where the
  /// line is longer than kRequestBytes.
  std::optional<std::string> read_line(std::chrono::milliseconds limit);
  /// False where the client is gone, or does not read for `limit`.
  bool write(std::string_view text, std::chrono::milliseconds limit);
  /// Hands the call's lines on until its end, and cancels it where the client goes away or stops reading.
  void relay(Call& call);
  /// Breaks off what another thread does here, and what the client waits for. Any thread.
  void close();

 private:
  bool client_left() const;
  base::FileDescriptor socket_;
};

}  // namespace finetuned::inference
