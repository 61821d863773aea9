#include "services/webhooks/signature.h"

#include "base/base64.h"
#include "base/sha256.h"

namespace finetuned::webhooks {

std::string signature(std::string_view secret, std::string_view id, std::int64_t timestamp, std::string_view body) {
  std::string content(id);
  content += "." + std::to_string(timestamp) + ".";
  content += body;
  return "v1," + base::base64_encode(base::hmac_sha256(secret, content));
}

}  // namespace finetuned::webhooks
