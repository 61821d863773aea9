#pragma once

#include <memory>
#include <string>
#include <string_view>

namespace finetuned::base {

/// MD5 of a stream of bytes (OpenSSL): a checksum that clients send, never a proof. One thread at a time.
class Md5 {
 public:
  Md5();
  ~Md5();

  void update(std::string_view data);
  /// The digest as 32 lower-case hex digits. Call once.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::base
