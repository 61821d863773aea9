#include "services/gateway/tls_context.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <ctime>

#include "base/errors.h"
#include "base/expects.h"
#include "base/files.h"
#include "base/log.h"
#include "base/sha256.h"
#include "services/gateway/metrics.h"

namespace finetuned::gateway {

namespace {

using std::chrono::sys_seconds;

constexpr char kCertificateKey[] = "gateway.tls_certificate_file";
constexpr char kPrivateKey[] = "gateway.tls_key_file";
constexpr std::uint64_t kMostFileBytes = 1 << 20;
constexpr std::chrono::hours kWarnBefore{14 * 24};
constexpr char kCiphers12[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
constexpr int kSecurityLevel = 2;  // 112 bits: RSA of 2048, elliptic curves of 224, SHA-2
constexpr unsigned char kProtocols[] = "\x08http/1.1";

using Bio = std::unique_ptr<BIO, decltype(&BIO_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using PrivateKey = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;

[[noreturn]] void refuse(const char* key, const std::string& file, const std::string& why) {
  throw base::ConfigError(std::string(key) + ": '" + file + "' " + why);
}

/// What OpenSSL said last, and forgets by that.
std::string openssl_reason() {
  const char* reason = ERR_reason_error_string(ERR_peek_last_error());
  const std::string text = reason ? reason : "unknown";
  ERR_clear_error();
  return text;
}

std::string read(const char* key, const std::string& file) {
  try {
    return base::read_file(file, kMostFileBytes);
  } catch (const base::FileError& error) {
    refuse(key, file, "cannot be read: " + error.code().message());
  } catch (const base::FormatError&) {
    refuse(key, file, "is larger than 1 MB: name a PEM file");
  }
}

Bio over(const std::string& text) {
  Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free);
  base::expects(bio != nullptr, "OpenSSL reads from memory");
  return bio;
}

/// Never asks the terminal for a passphrase, as OpenSSL would.
int no_passphrase(char*, int, int, void* asked) {
  *static_cast<bool*>(asked) = true;
  return -1;
}

/// As PostgreSQL has it: a key of ours is ours alone; one that the system keeps may be open to a group.
void check_privacy(const std::string& file) {
  struct stat about {};
  if (::stat(file.c_str(), &about) != 0) refuse(kPrivateKey, file, std::string("cannot be read: ") + std::strerror(errno));
  if (!S_ISREG(about.st_mode)) refuse(kPrivateKey, file, "is not a file");
  if ((about.st_mode & (about.st_uid == 0 ? 037 : 077)) != 0)
    refuse(kPrivateKey, file, "holds a secret but others may read it: chmod 600 it, or, where root owns it, chmod 640");
}

PrivateKey read_key(const std::string& file) {
  check_privacy(file);
  std::string text = read(kPrivateKey, file);
  bool asked = false;
  PrivateKey key(PEM_read_bio_PrivateKey(over(text).get(), nullptr, &no_passphrase, &asked), &EVP_PKEY_free);
  OPENSSL_cleanse(text.data(), text.size());
  if (asked) refuse(kPrivateKey, file, "is locked by a passphrase: write it without one, by openssl pkey -in FILE -out NEW");
  if (!key) refuse(kPrivateKey, file, "holds no private key in PEM (" + openssl_reason() + ")");
  return key;
}

Certificate next_certificate(BIO* bio) { return {PEM_read_bio_X509(bio, nullptr, nullptr, nullptr), &X509_free}; }

/// The file's first certificate becomes the server's, those behind it what is sent along.
Certificate use_chain(SSL_CTX* context, const std::string& file) {
  const std::string text = read(kCertificateKey, file);
  const Bio bio = over(text);
  Certificate first = next_certificate(bio.get());
  if (!first) refuse(kCertificateKey, file, "holds no certificate in PEM (" + openssl_reason() + ")");
  if (SSL_CTX_use_certificate(context, first.get()) != 1)
    refuse(kCertificateKey, file, "holds a certificate that cannot be used: " + openssl_reason());
  while (const Certificate issuer = next_certificate(bio.get()))
    if (SSL_CTX_add1_chain_cert(context, issuer.get()) != 1)
      refuse(kCertificateKey, file, "holds a chain that cannot be used: " + openssl_reason());
  const unsigned long end = ERR_peek_last_error();
  if (ERR_GET_LIB(end) != ERR_LIB_PEM || ERR_GET_REASON(end) != PEM_R_NO_START_LINE)
    refuse(kCertificateKey, file, "holds a broken certificate behind the first (" + openssl_reason() + ")");
  ERR_clear_error();  // it only was the end
  return first;
}

template <class Print>
std::string printed(const Print& print) {
  const Bio bio(BIO_new(BIO_s_mem()), &BIO_free);
  base::expects(bio != nullptr, "OpenSSL writes to memory");
  print(bio.get());
  char* text = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &text);
  return std::string(text, static_cast<std::size_t>(size));
}

sys_seconds time_of(const ASN1_TIME* time) {
  std::tm parts{};
  base::expects(ASN1_TIME_to_tm(time, &parts) == 1, "a certificate's times can be read");
  return sys_seconds(std::chrono::seconds(::timegm(&parts)));
}

CertificateFacts facts_of(X509* certificate) {
  CertificateFacts facts;
  facts.subject = printed([&](BIO* bio) { X509_NAME_print_ex(bio, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253); });
  const int names = X509_get_ext_by_NID(certificate, NID_subject_alt_name, -1);
  if (names >= 0) facts.names = printed([&](BIO* bio) { X509V3_EXT_print(bio, X509_get_ext(certificate, names), 0, 0); });
  unsigned char* der = nullptr;
  const int size = i2d_X509(certificate, &der);
  base::expects(size > 0, "a certificate has its DER");
  facts.fingerprint = base::sha256_hex({reinterpret_cast<const char*>(der), static_cast<std::size_t>(size)});
  OPENSSL_free(der);
  facts.not_before = time_of(X509_get0_notBefore(certificate));
  facts.not_after = time_of(X509_get0_notAfter(certificate));
  return facts;
}

int choose_protocol(SSL*, const unsigned char** chosen, unsigned char* size, const unsigned char* offered,
                    unsigned int offered_size, void*) {
  unsigned char* found = nullptr;
  if (SSL_select_next_proto(&found, size, kProtocols, sizeof kProtocols - 1, offered, offered_size) != OPENSSL_NPN_NEGOTIATED)
    return SSL_TLSEXT_ERR_ALERT_FATAL;
  *chosen = found;
  return SSL_TLSEXT_ERR_OK;
}

void configure(SSL_CTX* context, base::TlsVersion least) {
  SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET);
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_security_level(context, kSecurityLevel);
  SSL_CTX_set_alpn_select_cb(context, &choose_protocol, nullptr);
  const int oldest = least == base::TlsVersion::k1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
  base::expects(SSL_CTX_set_num_tickets(context, 0) == 1 && SSL_CTX_set_cipher_list(context, kCiphers12) == 1 &&
                    SSL_CTX_set_min_proto_version(context, oldest) == 1 && SSL_CTX_set_max_proto_version(context, 0) == 1,
                "OpenSSL 3 speaks TLS 1.2 and 1.3");
}

}  // namespace

std::string format_utc(sys_seconds time) {
  const std::time_t seconds = time.time_since_epoch().count();
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[48];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts));
}

std::string warning_of(const CertificateFacts& facts, sys_seconds now) {
  if (now >= facts.not_after) return "expired on " + format_utc(facts.not_after);
  if (now < facts.not_before) return "is not valid before " + format_utc(facts.not_before);
  if (now + kWarnBefore > facts.not_after) return "expires on " + format_utc(facts.not_after);
  return {};
}

bool wants_tls(const base::Settings::Gateway& settings) {
  const bool certificate = !settings.tls_certificate_file.empty(), key = !settings.tls_key_file.empty();
  if (certificate == key) return certificate;
  const char* const absent = certificate ? kPrivateKey : kCertificateKey;
  throw base::ConfigError(std::string(absent) + ": is empty, but " + (certificate ? kCertificateKey : kPrivateKey) +
                          " is not: set both for HTTPS, or neither for plain HTTP");
}

TlsContext::TlsContext(const base::Settings::Gateway& settings) : context_(SSL_CTX_new(TLS_server_method()), &SSL_CTX_free) {
  base::expects(context_ != nullptr, "OpenSSL gives a context");
  ERR_clear_error();
  configure(context_.get(), settings.tls_min_version);
  const PrivateKey key = read_key(settings.tls_key_file);
  const Certificate certificate = use_chain(context_.get(), settings.tls_certificate_file);
  if (X509_check_private_key(certificate.get(), key.get()) != 1)
    refuse(kPrivateKey, settings.tls_key_file,
           "is not the key of the certificate in '" + settings.tls_certificate_file + "': name the two that belong together");
  if (SSL_CTX_use_PrivateKey(context_.get(), key.get()) != 1)
    refuse(kPrivateKey, settings.tls_key_file, "holds a key that cannot be used: " + openssl_reason());
  facts_ = facts_of(certificate.get());
}

ssl_st* TlsContext::new_connection() const {
  SSL* const connection = SSL_new(context_.get());
  if (!connection) throw std::bad_alloc();
  SSL_set_accept_state(connection);
  return connection;
}

Tls::Tls(const base::Settings::Gateway& settings, Metrics& metrics) : settings_(settings), metrics_(metrics) {
  use(std::make_shared<TlsContext>(settings_));
}

std::shared_ptr<const TlsContext> Tls::current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

bool Tls::reload() {
  try {
    use(std::make_shared<TlsContext>(settings_));
    return true;
  } catch (const base::ConfigError& error) {
    base::log_error("the certificate was not loaded anew; the one before stays in use", {{"why", error.what()}});
    return false;
  }
}

void Tls::use(std::shared_ptr<const TlsContext> context) {
  const CertificateFacts& facts = context->certificate();
  base::log_info("certificate loaded", {{"subject", facts.subject}, {"names", facts.names}, {"sha256", facts.fingerprint},
                                        {"not_after", format_utc(facts.not_after)}});
  const std::string warning = warning_of(facts, std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()));
  if (!warning.empty())
    base::log_warn("the certificate " + warning + ": replace its files and send SIGHUP", {{"file", settings_.tls_certificate_file}});
  metrics_.certificate_loaded(facts.not_after);
  const std::lock_guard lock(mutex_);
  current_ = std::move(context);
}

}  // namespace finetuned::gateway
