#pragma once

#include <memory>

#include "tests/integration/gateway/http_client.h"

struct ssl_st;

namespace finetuned::tests {

/// How a client of TLS introduces itself; by itself as curl does, but for HTTP/2.
struct Hello {
  std::string version{};                          ///< `1.1`, `1.2` or `1.3` alone; empty: what is newest
  std::vector<std::string> protocols{"http/1.1"};  ///< ALPN; none where empty
  std::string ciphers{};                          ///< of TLS 1.2, OpenSSL's names
};

/// A raw connection to 127.0.0.1 by TLS. It trusts every certificate: tests look at its fingerprint.
class TlsWire : public Wire {
 public:
  explicit TlsWire(std::uint16_t port, const Hello& hello = {});
  ~TlsWire() override;

  bool connected() const { return refusal_.empty(); }
  const std::string& refusal() const { return refusal_; }  ///< why there is no connection, as OpenSSL has it
  std::string version() const;                             ///< `TLSv1.3`
  std::string cipher() const;
  std::string protocol() const;     ///< that ALPN chose
  std::string fingerprint() const;  ///< of the server's certificate
  bool has_ticket() const;          ///< the server offers to resume this session
  bool renegotiates();              ///< whether the server lets us
  void end();                       ///< says that nothing more will be sent, and reads on
  bool ended() const;               ///< the server has said so

 protected:
  ssize_t put(const char* bytes, std::size_t size) override;
  ssize_t get(char* into, std::size_t room) override;
  bool has_bytes_at_hand() const override;

 private:
  std::unique_ptr<ssl_st, void (*)(ssl_st*)> ssl_;
  std::string refusal_;
};

/// What a client sends first.
std::string client_hello();

/// One request on a TLS connection of its own.
Answer tls_call(std::uint16_t port, const Call& request);

}  // namespace finetuned::tests
