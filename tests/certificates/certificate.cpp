#include "tests/certificates/certificate.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cstdio>
#include <cstring>
#include <memory>

#include "base/expects.h"
#include "base/ids.h"
#include "base/sha256.h"

namespace finetuned::tests {

namespace fs = std::filesystem;

namespace {

using File = std::unique_ptr<std::FILE, decltype(&std::fclose)>;
using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

long seconds(std::chrono::hours hours) { return static_cast<long>(std::chrono::seconds(hours).count()); }

void add_extension(X509* certificate, int kind, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, kind, value);
  base::expects(extension && X509_add_ext(certificate, extension, -1) == 1, "an extension is added");
  X509_EXTENSION_free(extension);
}

Certificate self_signed(EVP_PKEY* key, const CertificateFiles::Options& options) {
  Certificate certificate(X509_new(), &X509_free);
  X509_set_version(certificate.get(), X509_VERSION_3);
  const std::string serial = base::random_bytes(8);
  std::uint64_t number = 0;
  std::memcpy(&number, serial.data(), sizeof number);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()), number >> 1);
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), seconds(options.valid_from));
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), seconds(options.valid_until));
  X509_NAME* name = X509_get_subject_name(certificate.get());
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(options.common_name.c_str()), -1, -1, 0);
  X509_set_issuer_name(certificate.get(), name);
  X509_set_pubkey(certificate.get(), key);
  add_extension(certificate.get(), NID_basic_constraints, "critical,CA:TRUE");
  add_extension(certificate.get(), NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
  base::expects(X509_sign(certificate.get(), key, EVP_sha256()) > 0, "a certificate is signed");
  return certificate;
}

}  // namespace

CertificateFiles::CertificateFiles(const Options& options)
    : directory_(fs::temp_directory_path() / base::make_id("certificate")) {
  fs::create_directories(directory_);
  replace(options);
}

CertificateFiles::~CertificateFiles() { fs::remove_all(directory_); }

void CertificateFiles::replace(const Options& options) {
  const Key pair(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  const Certificate made = self_signed(pair.get(), options);
  const mode_t former = ::umask(077);
  const File key_file(std::fopen(key().c_str(), "w"), &std::fclose);
  ::umask(former);
  const File certificate_file(std::fopen(certificate().c_str(), "w"), &std::fclose);
  base::expects(key_file && certificate_file &&
                    PEM_write_PrivateKey(key_file.get(), pair.get(), nullptr, nullptr, 0, nullptr, nullptr) == 1 &&
                    PEM_write_X509(certificate_file.get(), made.get()) == 1,
                "a certificate is written");
  unsigned char* der = nullptr;
  const int size = i2d_X509(made.get(), &der);
  fingerprint_ = base::sha256_hex({reinterpret_cast<const char*>(der), static_cast<std::size_t>(size)});
  OPENSSL_free(der);
}

}  // namespace finetuned::tests
