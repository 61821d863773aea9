#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace finetuned::gateway {

/// What POST /v1/files and POST /v1/uploads have in common. The checks throw ApiError 400 naming the field.

/// The label that a file is shown by: its last path component, without control characters; `upload` where nothing is left.
std::string label_of(std::string_view filename);

/// One of assistants, batch, fine-tune, vision, user_data, evals.
void check_purpose(std::string_view purpose);

/// `expires_after`: seconds from 3600 to 2592000 after the file's creation. Without `seconds`, what came was no integer.
std::int64_t checked_expiry(std::string_view anchor, std::optional<std::int64_t> seconds);

}  // namespace finetuned::gateway
