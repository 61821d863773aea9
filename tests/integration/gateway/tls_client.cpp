#include "tests/integration/gateway/tls_client.h"

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/sha256.h"

namespace finetuned::tests {

namespace {

constexpr timeval kPatience{.tv_sec = 10, .tv_usec = 0};

using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;

Context context_for(const Hello& hello) {
  Context context(SSL_CTX_new(TLS_client_method()), &SSL_CTX_free);
  SSL_CTX_set_security_level(context.get(), 0);  // what is too old is the server's to refuse
  const int only = hello.version == "1.1" ? TLS1_1_VERSION : hello.version == "1.2" ? TLS1_2_VERSION : hello.version == "1.3" ? TLS1_3_VERSION : 0;
  SSL_CTX_set_min_proto_version(context.get(), only);
  SSL_CTX_set_max_proto_version(context.get(), only);
  if (!hello.ciphers.empty()) SSL_CTX_set_cipher_list(context.get(), hello.ciphers.c_str());
  std::string protocols;
  for (const std::string& protocol : hello.protocols) protocols += static_cast<char>(protocol.size()) + protocol;
  if (!protocols.empty())
    SSL_CTX_set_alpn_protos(context.get(), reinterpret_cast<const unsigned char*>(protocols.data()), static_cast<unsigned>(protocols.size()));
  return context;
}

}  // namespace

TlsWire::TlsWire(std::uint16_t port, const Hello& hello) : Wire(port), ssl_(SSL_new(context_for(hello).get()), &SSL_free) {
  ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &kPatience, sizeof kPatience);
  BIO* const bio = BIO_new_socket(socket_.get(), BIO_NOCLOSE);
  SSL_set_bio(ssl_.get(), bio, bio);
  SSL_set_tlsext_host_name(ssl_.get(), "localhost");
  ERR_clear_error();
  if (SSL_connect(ssl_.get()) == 1) return;
  const char* reason = ERR_reason_error_string(ERR_peek_error());
  refusal_ = reason ? reason : "closed";
  ERR_clear_error();
}

TlsWire::~TlsWire() = default;

std::string TlsWire::version() const { return SSL_get_version(ssl_.get()); }
std::string TlsWire::cipher() const { return SSL_get_cipher_name(ssl_.get()); }

std::string TlsWire::protocol() const {
  const unsigned char* chosen = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &chosen, &size);
  return std::string(reinterpret_cast<const char*>(chosen), size);
}

std::string TlsWire::fingerprint() const {
  unsigned char* der = nullptr;
  const int size = i2d_X509(SSL_get0_peer_certificate(ssl_.get()), &der);
  const std::string hex = base::sha256_hex({reinterpret_cast<const char*>(der), static_cast<std::size_t>(size)});
  OPENSSL_free(der);
  return hex;
}

bool TlsWire::has_ticket() const {
  const SSL_SESSION* session = SSL_get0_session(ssl_.get());
  return SSL_SESSION_has_ticket(session) == 1 || SSL_SESSION_is_resumable(session) == 1;
}

bool TlsWire::renegotiates() {
  ERR_clear_error();
  return SSL_renegotiate(ssl_.get()) == 1 && SSL_do_handshake(ssl_.get()) == 1;
}

void TlsWire::end() { SSL_shutdown(ssl_.get()); }
bool TlsWire::ended() const { return (SSL_get_shutdown(ssl_.get()) & SSL_RECEIVED_SHUTDOWN) != 0; }

ssize_t TlsWire::put(const char* bytes, std::size_t size) {
  ERR_clear_error();
  return SSL_write(ssl_.get(), bytes, static_cast<int>(size));
}

ssize_t TlsWire::get(char* into, std::size_t room) {
  ERR_clear_error();
  const int got = SSL_read(ssl_.get(), into, static_cast<int>(room));
  if (got <= 0 && SSL_get_error(ssl_.get(), got) == SSL_ERROR_WANT_READ) throw std::runtime_error("the gateway sent half a record in time");
  return got;
}

bool TlsWire::has_bytes_at_hand() const { return SSL_pending(ssl_.get()) > 0; }

std::string client_hello() {
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context_for({}).get()), &SSL_free);
  BIO* const sent = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), sent);
  SSL_connect(ssl.get());
  ERR_clear_error();
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(sent, &bytes);
  return std::string(bytes, static_cast<std::size_t>(size));
}

Answer tls_call(std::uint16_t port, const Call& request) {
  TlsWire wire(port);
  EXPECT_TRUE(wire.connected()) << wire.refusal();
  wire.send(to_bytes(request));
  const auto answer = wire.read();
  EXPECT_TRUE(answer) << request.method << " " << request.path << " got no answer";
  return answer.value_or(Answer{});
}

}  // namespace finetuned::tests
