#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <string>

#include "base/settings.h"

struct ssl_ctx_st;  // OpenSSL's SSL_CTX and SSL
struct ssl_st;

namespace finetuned::gateway {

class Metrics;

/// What a certificate says of itself.
struct CertificateFacts {
  std::string subject;      ///< `CN=api.example.com,O=Example`; may be empty where there are names
  std::string names;        ///< subjectAltName: `DNS:api.example.com, IP Address:192.0.2.1`
  std::string fingerprint;  ///< SHA-256 of its DER, in hex
  std::chrono::sys_seconds not_before, not_after;
};

/// Why a certificate is about to be refused by clients, or is already: `expired on 2026-11-26T15:00:00Z`. Empty where it
/// is good for 14 days more.
std::string warning_of(const CertificateFacts& facts, std::chrono::sys_seconds now);

/// `2026-11-26T15:00:00Z`
std::string format_utc(std::chrono::sys_seconds time);

/// A certificate with its chain and its key, checked, and how TLS is spoken with them: 1.2 with ECDHE and an AEAD only, and
/// 1.3; ALPN `http/1.1`; no compression, no renegotiation. Sessions are not resumed: clients keep their connections, the
/// keys of tickets would have to be shared by all gateways and rotated, and each ticket would cost memory. The client's
/// order of ciphers counts: all of them are strong, and it knows whether it computes AES in hardware.
/// Immutable; thread-safe.
class TlsContext {
 public:
  /// Reads gateway.tls_certificate_file and gateway.tls_key_file. Throws ConfigError, which names the key, the file and
  /// the remedy: where one cannot be read or is no PEM, the key has a passphrase or is open to others (its group may read
  /// it where root owns it), or the two do not belong together.
  explicit TlsContext(const base::Settings::Gateway& settings);

  const CertificateFacts& certificate() const { return facts_; }
  /// The server's end of a new connection, to be freed by SSL_free; may outlive this.
  ssl_st* new_connection() const;

 private:
  std::unique_ptr<ssl_ctx_st, void (*)(ssl_ctx_st*)> context_;
  CertificateFacts facts_;
};

/// The context that new connections begin with. Thread-safe.
class Tls {
 public:
  /// Throws as TlsContext does. `settings` and `metrics` outlive this.
  Tls(const base::Settings::Gateway& settings, Metrics& metrics);

  std::shared_ptr<const TlsContext> current() const;
  /// Reads the files anew: connections from now on show that certificate, the others go on. Where the files are at fault,
  /// what there was stays, and the log says why; false then.
  bool reload();

 private:
  void use(std::shared_ptr<const TlsContext> context);

  const base::Settings::Gateway& settings_;
  Metrics& metrics_;
  mutable std::mutex mutex_;
  std::shared_ptr<const TlsContext> current_;
};

/// Whether the settings ask for TLS. Throws ConfigError where only one of its two files is named.
bool wants_tls(const base::Settings::Gateway& settings);

}  // namespace finetuned::gateway
