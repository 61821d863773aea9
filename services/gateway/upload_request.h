#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "storage/upload_store.h"

namespace finetuned::gateway {

/// The body of POST /v1/uploads; id and project are left empty. Throws ApiError 400 naming the field at fault.
storage::NewUpload parse_upload_request(std::string_view body);

/// The body of POST /v1/uploads/{id}/complete.
struct CompletionRequest {
  std::vector<std::string> part_ids;  ///< 1 to 10,000, each once
  std::optional<std::string> md5;     ///< in lower case
};

/// Throws ApiError 400 naming the field at fault.
CompletionRequest parse_completion_request(std::string_view body);

/// Refuses an id that no upload can have, as one that does not exist: 404 `upload_not_found`.
const std::string& checked_upload_id(const std::string& id);

}  // namespace finetuned::gateway
