#include "base/sha256.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <fstream>
#include <stdexcept>
#include <vector>

#include "base/expects.h"

namespace finetuned::base {

namespace {

/// Fetched once: OpenSSL would look for the fastest one each time.
const EVP_MD* method() {
  static const EVP_MD* const fetched = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  return fetched;
}

/// Of a whole, with what a thread keeps for it: making that takes longer than short data.
void digest_of(std::string_view data, unsigned char (&digest)[32]) {
  thread_local const std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> context{EVP_MD_CTX_new(), EVP_MD_CTX_free};
  unsigned length = 0;
  expects(context && EVP_DigestInit_ex2(context.get(), method(), nullptr) == 1 &&
              EVP_DigestUpdate(context.get(), data.data(), data.size()) == 1 &&
              EVP_DigestFinal_ex(context.get(), digest, &length) == 1 && length == 32,
          "OpenSSL has SHA-256");
}

std::string hex_of(const unsigned char (&digest)[32]) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  text.reserve(64);
  for (const unsigned char byte : digest) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

}  // namespace

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  State() { expects(context && EVP_DigestInit_ex(context, method(), nullptr) == 1, "SHA-256 starts"); }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

Sha256::Sha256() : state_(std::make_unique<State>()) {}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;
Sha256& Sha256::operator=(Sha256&&) noexcept = default;

void Sha256::update(const void* data, std::size_t size) {
  expects(EVP_DigestUpdate(state_->context, data, size) == 1, "SHA-256 takes its input");
}

std::string Sha256::hex() {
  unsigned char digest[32];
  unsigned int length = 0;
  expects(EVP_DigestFinal_ex(state_->context, digest, &length) == 1 && length == 32, "SHA-256 ends");
  return hex_of(digest);
}

std::string sha256_hex(std::string_view data) {
  unsigned char digest[32];
  digest_of(data, digest);
  return hex_of(digest);
}

std::string sha256_bytes(std::string_view data) {
  unsigned char digest[32];
  digest_of(data, digest);
  return {reinterpret_cast<const char*>(digest), sizeof digest};
}

std::string sha256_file(const std::filesystem::path& file, const std::function<void()>& each_piece) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw std::runtime_error(file.string() + ": cannot be opened for reading");
  Sha256 hash;
  std::vector<char> piece(1 << 20);
  while (in.read(piece.data(), static_cast<std::streamsize>(piece.size())) || in.gcount() > 0) {
    hash.update(piece.data(), static_cast<std::size_t>(in.gcount()));
    if (each_piece) each_piece();
  }
  if (in.bad()) throw std::runtime_error(file.string() + ": reading failed");
  return hash.hex();
}

std::string hmac_sha256(std::string_view key, std::string_view data) {
  std::string digest(EVP_MAX_MD_SIZE, '\0');
  unsigned length = 0;
  expects(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), reinterpret_cast<const unsigned char*>(data.data()),
               data.size(), reinterpret_cast<unsigned char*>(digest.data()), &length) != nullptr,
          "OpenSSL has HMAC-SHA256");
  digest.resize(length);
  return digest;
}

bool constant_time_equal(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace finetuned::base
