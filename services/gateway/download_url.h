#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "services/gateway/http.h"

namespace finetuned::gateway {

/// What a signed URL opens, for whom and until when.
struct Download {
  std::string project_id;
  std::string file_id;
  std::int64_t expires_at = 0;  ///< Unix seconds; from then on it opens nothing
};

/// `/v1/downloads/FILE?project=PROJECT&expires=SECONDS&signature=HEX`: HMAC-SHA256 under `key` over all three. Every
/// gateway with that key opens it.
std::string sign_download(std::string_view key, const Download& download);

/// Of a request to such a path. nullopt unless each part is as it was signed; the time is not looked at.
std::optional<Download> read_download(std::string_view key, const Request& request);

}  // namespace finetuned::gateway
