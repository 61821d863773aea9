#include "services/gateway/file_request.h"

#include <algorithm>
#include <array>

#include "base/errors.h"

namespace finetuned::gateway {

namespace {

constexpr std::int64_t kLeastExpiry = 3600, kMostExpiry = 2592000;
constexpr std::array<std::string_view, 6> kPurposes{"assistants", "batch", "fine-tune", "vision", "user_data", "evals"};

}  // namespace

std::string label_of(std::string_view filename) {
  const auto slash = filename.find_last_of("/\\");
  if (slash != std::string_view::npos) filename.remove_prefix(slash + 1);
  std::string label;
  for (const char c : filename)
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) label.push_back(c);
  // A client that stores a download under its name must get one.
  return label.empty() || label == "." || label == ".." ? "upload" : label;
}

void check_purpose(std::string_view purpose) {
  if (std::find(kPurposes.begin(), kPurposes.end(), purpose) != kPurposes.end()) return;
  throw base::bad_request(
      "invalid_value",
      "'" + std::string(purpose) + "' is not one of assistants, batch, fine-tune, vision, user_data, evals.", "purpose");
}

std::int64_t checked_expiry(std::string_view anchor, std::optional<std::int64_t> seconds) {
  if (anchor != "created_at")
    throw base::bad_request("invalid_value", "expires_after.anchor must be created_at.", "expires_after.anchor");
  if (!seconds || *seconds < kLeastExpiry || *seconds > kMostExpiry)
    throw base::bad_request("invalid_value", "expires_after.seconds must be an integer from 3600 to 2592000.",
                            "expires_after.seconds");
  return *seconds;
}

}  // namespace finetuned::gateway
