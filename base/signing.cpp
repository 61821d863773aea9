#include "base/signing.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/errors.h"
#include "base/expects.h"
#include "base/secret_file.h"

namespace finetuned::base {

namespace {

using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
using Digest = std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)>;
using Memory = std::unique_ptr<BIO, decltype(&BIO_free)>;

const unsigned char* raw(std::string_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* raw(std::string& bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

Memory memory_of(const std::string& text) {
  return {BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), &BIO_free};
}

template <class Write>
std::string written(Write write) {
  const Memory memory(BIO_new(BIO_s_mem()), &BIO_free);
  expects(memory && write(memory.get()) == 1, "OpenSSL writes keys");
  char* text = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &text);
  return {text, static_cast<std::size_t>(size)};
}

std::string raw_public(const EVP_PKEY* key) {
  std::string bytes(SigningKey::kPublicBytes, '\0');
  std::size_t size = bytes.size();
  expects(EVP_PKEY_get_raw_public_key(key, raw(bytes), &size) == 1 && size == bytes.size(), "an Ed25519 key has 32 bytes");
  return bytes;
}

std::string make_private_pem() {
  const Key key(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"), &EVP_PKEY_free);
  expects(key != nullptr, "OpenSSL has Ed25519");
  return written([&](BIO* to) { return PEM_write_bio_PKCS8PrivateKey(to, key.get(), nullptr, nullptr, 0, nullptr, nullptr); });
}

}  // namespace

struct SigningKey::State {
  Key key;
};

SigningKey SigningKey::load_or_create(const std::filesystem::path& file) {
  const std::string pem = load_or_create_secret(file, make_private_pem, "or name another file by ledger.key_file");
  const Memory memory = memory_of(pem);
  Key key(PEM_read_bio_PrivateKey(memory.get(), nullptr, nullptr, nullptr), &EVP_PKEY_free);
  if (!key || EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519)
    throw UsageError(file.string() + " holds no Ed25519 key: openssl genpkey -algorithm ed25519 makes one");
  return SigningKey(std::make_shared<const State>(State{std::move(key)}));
}

std::string SigningKey::public_key() const {
  return raw_public(state_->key.get());
}

std::string SigningKey::sign(std::string_view message) const {
  const Digest digest(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  std::string signature(kSignatureBytes, '\0');
  std::size_t size = signature.size();
  expects(digest && EVP_DigestSignInit(digest.get(), nullptr, nullptr, nullptr, state_->key.get()) == 1 &&
              EVP_DigestSign(digest.get(), raw(signature), &size, raw(message), message.size()) == 1,
          "Ed25519 signs whatever it is given");
  return signature;
}

bool verify_signature(std::string_view public_key, std::string_view message, std::string_view signature) {
  const Key key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, raw(public_key), public_key.size()), &EVP_PKEY_free);
  const Digest digest(EVP_MD_CTX_new(), &EVP_MD_CTX_free);
  return key && digest && EVP_DigestVerifyInit(digest.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
         EVP_DigestVerify(digest.get(), raw(signature), signature.size(), raw(message), message.size()) == 1;
}

std::string public_key_to_pem(std::string_view public_key) {
  const Key key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, raw(public_key), public_key.size()), &EVP_PKEY_free);
  expects(key != nullptr, "a public key has 32 bytes");
  return written([&](BIO* to) { return PEM_write_bio_PUBKEY(to, key.get()); });
}

std::string public_key_from_pem(const std::string& pem) {
  const Memory memory = memory_of(pem);
  const Key key(PEM_read_bio_PUBKEY(memory.get(), nullptr, nullptr, nullptr), &EVP_PKEY_free);
  if (!key || EVP_PKEY_get_id(key.get()) != EVP_PKEY_ED25519)
    throw UsageError("holds no Ed25519 public key in PEM (BEGIN PUBLIC KEY)");
  return raw_public(key.get());
}

}  // namespace finetuned::base
