#include "base/md5.h"

#include <openssl/evp.h>

#include "base/expects.h"

namespace finetuned::base {

struct Md5::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  State() { expects(context && EVP_DigestInit_ex(context, EVP_md5(), nullptr) == 1, "MD5 starts"); }
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

Md5::Md5() : state_(std::make_unique<State>()) {}
Md5::~Md5() = default;

void Md5::update(std::string_view data) {
  expects(EVP_DigestUpdate(state_->context, data.data(), data.size()) == 1, "MD5 takes its input");
}

std::string Md5::hex() {
  unsigned char digest[16];
  unsigned int length = 0;
  expects(EVP_DigestFinal_ex(state_->context, digest, &length) == 1 && length == 16, "MD5 ends");
  constexpr char kHex[] = "0123456789abcdef";
  std::string text;
  for (const unsigned char byte : digest) {
    text += kHex[byte >> 4];
    text += kHex[byte & 15];
  }
  return text;
}

}  // namespace finetuned::base
