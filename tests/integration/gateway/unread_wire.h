#pragma once

#include <sys/socket.h>

#include "tests/integration/gateway/http_client.h"

namespace finetuned::tests {

/// A client for whom the kernel keeps little of what it does not read.
class UnreadWire : public Wire {
 public:
  explicit UnreadWire(std::uint16_t port) : Wire(port) {
    const int bytes = 4096;
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
  }
};

}  // namespace finetuned::tests
