#pragma once

#include <chrono>
#include <filesystem>
#include <string>

namespace finetuned::tests {

/// A self-signed certificate for 127.0.0.1 and `localhost` on P-256, and its key, as PEM files in a directory of their own.
class CertificateFiles {
 public:
  struct Options {
    std::string common_name{"localhost"};
    std::chrono::hours valid_from{-1};  ///< both from now
    std::chrono::hours valid_until{24 * 90};
  };

  CertificateFiles() : CertificateFiles(Options()) {}
  explicit CertificateFiles(const Options& options);
  ~CertificateFiles();
  CertificateFiles(const CertificateFiles&) = delete;
  CertificateFiles& operator=(const CertificateFiles&) = delete;

  /// Puts another certificate and another key there.
  void replace(const Options& options);

  const std::filesystem::path& directory() const { return directory_; }
  std::filesystem::path certificate() const { return directory_ / "certificate.pem"; }
  std::filesystem::path key() const { return directory_ / "key.pem"; }
  const std::string& fingerprint() const { return fingerprint_; }  ///< SHA-256 of the DER, in hex

 private:
  std::filesystem::path directory_;
  std::string fingerprint_;
};

}  // namespace finetuned::tests
