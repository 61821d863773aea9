#pragma once

#include <string>
#include <vector>

namespace finetuned::tests {

/// Bytes that two readers of HTTP/1.1 may understand differently, and so must be refused: with exactly one answer,
/// after which the connection closes.
struct RefusedBytes {
  std::string name;  ///< of letters, digits and blanks
  std::string bytes;
  int status = 400;
};

/// Whole heads of requests for /healthz, some with the body that they announce.
const std::vector<RefusedBytes>& refused_heads();

/// What follows a head that says `Transfer-Encoding: chunked` and nothing else of a body.
const std::vector<RefusedBytes>& refused_chunks();

}  // namespace finetuned::tests
