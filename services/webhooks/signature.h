#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace finetuned::webhooks {

/// The `webhook-signature` of the standard-webhooks specification: `v1,` and the base64 of HMAC-SHA256 under the
/// secret's bytes (what stands behind `whsec_`, decoded) over `ID.TIMESTAMP.BODY`.
std::string signature(std::string_view secret, std::string_view id, std::int64_t timestamp, std::string_view body);

}  // namespace finetuned::webhooks
