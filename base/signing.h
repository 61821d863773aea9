#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace finetuned::base {

/// A key that signs by Ed25519 (RFC 8032). Thread-safe.
class SigningKey {
 public:
  static constexpr std::size_t kPublicBytes = 32, kSignatureBytes = 64;

  /// The key kept in `file` (PEM, PKCS #8: what `openssl genpkey -algorithm ed25519` writes), made when there is none yet, as
  /// load_or_create_secret does. Throws UsageError where the file is open to others or holds no Ed25519 key, FileError.
  static SigningKey load_or_create(const std::filesystem::path& file);

  std::string public_key() const;  ///< 32 bytes
  std::string sign(std::string_view message) const;

 private:
  struct State;
  explicit SigningKey(std::shared_ptr<const State> state) : state_(std::move(state)) {}
  std::shared_ptr<const State> state_;  // copies are of one key
};

/// Whether `public_key` (32 bytes) signed the message.
bool verify_signature(std::string_view public_key, std::string_view message, std::string_view signature);

/// A public key as PEM (SubjectPublicKeyInfo), as OpenSSL's commands take it, and back. Throws UsageError where the text
/// holds none.
std::string public_key_to_pem(std::string_view public_key);
std::string public_key_from_pem(const std::string& pem);

}  // namespace finetuned::base
