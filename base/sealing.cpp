#include "base/sealing.h"

#include <openssl/evp.h>

#include <memory>

#include "base/base64.h"
#include "base/errors.h"
#include "base/expects.h"
#include "base/ids.h"
#include "base/secret_file.h"
#include "base/settings.h"
#include "base/sha256.h"

namespace finetuned::base {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kNonceBytes = 12, kTagBytes = 16;

using Cipher = std::unique_ptr<EVP_CIPHER_CTX, decltype(&EVP_CIPHER_CTX_free)>;

const unsigned char* raw(std::string_view bytes) { return reinterpret_cast<const unsigned char*>(bytes.data()); }
unsigned char* raw(std::string& bytes) { return reinterpret_cast<unsigned char*>(bytes.data()); }

Cipher begin(bool sealing, std::string_view key, std::string_view nonce, std::string_view purpose) {
  Cipher cipher(EVP_CIPHER_CTX_new(), &EVP_CIPHER_CTX_free);
  int length = 0;
  expects(cipher && EVP_CipherInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, raw(key), raw(nonce), sealing ? 1 : 0) == 1 &&
              EVP_CipherUpdate(cipher.get(), nullptr, &length, raw(purpose), static_cast<int>(purpose.size())) == 1,
          "OpenSSL has AES-256-GCM");
  return cipher;
}

}  // namespace

SealingKey SealingKey::from_base64(std::string_view text) {
  auto key = base64_decode(text);
  if (!key || key->size() != kBytes) throw UsageError("must be 32 bytes in base64: openssl rand -base64 32");
  return SealingKey(std::move(*key));
}

SealingKey SealingKey::load_or_create(const fs::path& file) {
  std::string text = load_or_create_secret(file, [] { return base64_encode(random_bytes(kBytes)) + "\n"; },
                                           "or set webhooks.secret_key");
  while (text.ends_with('\n')) text.pop_back();
  try {
    return from_base64(text);
  } catch (const UsageError& error) {
    throw UsageError(file.string() + " " + error.what());
  }
}

std::string SealingKey::seal(std::string_view secret, std::string_view purpose) const {
  std::string sealed = random_bytes(kNonceBytes);
  const Cipher cipher = begin(true, key_, sealed, purpose);
  std::string hidden(secret.size(), '\0'), tag(kTagBytes, '\0');
  int length = 0, rest = 0;
  expects(EVP_CipherUpdate(cipher.get(), raw(hidden), &length, raw(secret), static_cast<int>(secret.size())) == 1 &&
              EVP_CipherFinal_ex(cipher.get(), raw(hidden) + length, &rest) == 1 &&
              EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes, tag.data()) == 1,
          "AES-256-GCM seals whatever it is given");
  return sealed + hidden + tag;
}

std::string SealingKey::open(std::string_view sealed, std::string_view purpose) const {
  if (sealed.size() < kNonceBytes + kTagBytes) throw SealError("a sealed secret is too short");
  const Cipher cipher = begin(false, key_, sealed.substr(0, kNonceBytes), purpose);
  const std::string_view hidden = sealed.substr(kNonceBytes, sealed.size() - kNonceBytes - kTagBytes);
  std::string secret(hidden.size(), '\0'), tag(sealed.substr(sealed.size() - kTagBytes));
  int length = 0, rest = 0;
  if (EVP_CipherUpdate(cipher.get(), raw(secret), &length, raw(hidden), static_cast<int>(hidden.size())) != 1 ||
      EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, tag.data()) != 1 ||
      EVP_CipherFinal_ex(cipher.get(), raw(secret) + length, &rest) != 1)
    throw SealError("a sealed secret does not open: it was sealed under another webhooks.secret_key, or altered");
  return secret;
}

std::string SealingKey::derive(std::string_view use) const { return hmac_sha256(key_, "finetuned key for " + std::string(use)); }

SealingKey webhooks_key(const Settings& settings) {
  try {
    if (settings.webhooks.secret_key.empty())
      return SealingKey::load_or_create(fs::absolute(settings.data_directory) / "webhooks.key");
    return SealingKey::from_base64(settings.webhooks.secret_key);
  } catch (const UsageError& error) {
    throw ConfigError(std::string("webhooks.secret_key: ") + error.what());
  }
}

}  // namespace finetuned::base
