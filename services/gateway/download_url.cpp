#include "services/gateway/download_url.h"

#include <charconv>

#include "base/sha256.h"

namespace finetuned::gateway {

namespace {

/// Ids have no line break, so that no two downloads give the same text.
std::string signature_of(std::string_view key, const Download& download) {
  const std::string mac = base::hmac_sha256(
      key, "download\n" + download.project_id + "\n" + download.file_id + "\n" + std::to_string(download.expires_at));
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const char c : mac) {
    hex += kDigits[static_cast<unsigned char>(c) >> 4];
    hex += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return hex;
}

}  // namespace

std::string sign_download(std::string_view key, const Download& download) {
  return "/v1/downloads/" + download.file_id + "?project=" + download.project_id +
         "&expires=" + std::to_string(download.expires_at) + "&signature=" + signature_of(key, download);
}

std::optional<Download> read_download(std::string_view key, const Request& request) {
  const auto project = request.query_value("project"), expires = request.query_value("expires"),
             signature = request.query_value("signature");
  if (!project || project->empty() || !expires || !signature || request.query.size() != 3) return std::nullopt;
  Download download{std::string(*project), request.params.at(0), 0};
  const auto [end, error] = std::from_chars(expires->data(), expires->data() + expires->size(), download.expires_at);
  if (error != std::errc() || end != expires->data() + expires->size()) return std::nullopt;
  if (download.project_id.find('\n') != std::string::npos || download.file_id.find('\n') != std::string::npos)
    return std::nullopt;
  if (!base::constant_time_equal(*signature, signature_of(key, download))) return std::nullopt;
  return download;
}

}  // namespace finetuned::gateway
