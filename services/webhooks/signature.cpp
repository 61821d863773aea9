#include "services/webhooks/signature.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "base/base64.h"
#include "base/expects.h"

namespace finetuned::webhooks {

std::string signature(std::string_view secret, std::string_view id, std::int64_t timestamp, std::string_view body) {
  std::string content(id);
  content += "." + std::to_string(timestamp) + ".";
  content += body;
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  base::expects(HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
                     reinterpret_cast<const unsigned char*>(content.data()), content.size(), digest, &length) != nullptr,
                "OpenSSL has HMAC-SHA256");
  return "v1," + base::base64_encode({reinterpret_cast<const char*>(digest), length});
}

}  // namespace finetuned::webhooks
