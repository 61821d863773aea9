#include "base/base64.h"

#include <openssl/evp.h>

namespace finetuned::base {

std::string base64_encode(std::string_view bytes) {
  std::string text((bytes.size() + 2) / 3 * 4 + 1, '\0');  // OpenSSL ends it with a zero
  const int length = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  text.resize(static_cast<std::size_t>(length));
  return text;
}

std::optional<std::string> base64_decode(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string bytes(text.size() / 4 * 3, '\0');
  const int length = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(bytes.data()),
                                     reinterpret_cast<const unsigned char*>(text.data()), static_cast<int>(text.size()));
  if (length < 0) return std::nullopt;
  bytes.resize(static_cast<std::size_t>(length));
  for (int padding = 0; padding < 2 && text.ends_with('=') && !bytes.empty(); ++padding) {
    if (padding == 1 && !text.substr(0, text.size() - 1).ends_with('=')) break;
    bytes.pop_back();
  }
  if (base64_encode(bytes) != text) return std::nullopt;  // OpenSSL lets blanks and stray bits through
  return bytes;
}

}  // namespace finetuned::base
