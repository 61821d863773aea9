#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

struct ssl_st;

namespace finetuned::gateway {

class TlsContext;

/// The server's end of one TLS connection, apart from any socket: what has arrived is handed in, what is to be sent is
/// gathered. So the connection reads, waits and times out as it does without TLS, and one that idles holds no buffers.
/// One thread at a time; neither copied nor moved.
class TlsSession {
 public:
  explicit TlsSession(const TlsContext& context);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  enum class Outcome {
    kDone,
    kWantsMore,  ///< of the client's bytes
    kEnded,      ///< the client has said that it sends nothing more
    kFailed,     ///< the connection is of no use any more; fault() says why, and an alert may have to be sent
  };
  struct Step {
    Outcome outcome = Outcome::kFailed;
    std::size_t used = 0;     ///< of what has arrived; the rest is handed in again
    std::size_t written = 0;  ///< plain bytes, where there are any the outcome is kDone
  };

  /// Until it is done nothing else may be called.
  Step shake_hands(std::string_view arrived);
  Step read(std::string_view arrived, char* into, std::size_t room);
  /// kDone where read() would give a byte at least.
  Step look(std::string_view arrived);
  /// Encrypts all of `plain`. False where the connection is of no use any more.
  bool write(std::string_view plain);
  /// Says that nothing more will be sent.
  void end();

  /// To be sent, in order, and cleared by whoever has sent it.
  std::string& outgoing() { return outgoing_; }
  const std::string& fault() const { return fault_; }

 private:
  friend struct TlsPipe;
  Step step_of(int result, std::string_view arrived);

  std::unique_ptr<ssl_st, void (*)(ssl_st*)> ssl_;
  std::string_view arrived_;  ///< during a call: what OpenSSL has not taken yet
  std::string outgoing_;
  std::string fault_;
};

}  // namespace finetuned::gateway
