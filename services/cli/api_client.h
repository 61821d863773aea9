#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"

namespace finetuned::cli {

/// Hears how many bytes of how many have moved; `total` is 0 while it is not known.
using TransferProgress = std::function<void(std::int64_t moved, std::int64_t total)>;

/// No answer came: the platform is away, or the connection broke. The request may or may not have been
/// carried out.
struct ConnectionError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Calls the API of one platform with one key. One thread at a time; keeps its connection open between calls.
///
/// Paths are below `/v1` and start with `/`; whatever a user typed into one goes through `escape`. Every call
/// throws ApiError for an answer of 400 and up, with the API's message, code and parameter, and
/// ConnectionError where there was no answer. Connecting is bounded by 10 s, a JSON call by 60 s, a transfer
/// by 60 s without a byte.
class ApiClient {
 public:
  /// `url` is the platform's, such as `http://127.0.0.1:8080`; a trailing `/v1` is understood.
  /// `ca_file` (PEM) holds what an https platform's certificate is trusted by, beside the system's; may be empty.
  /// Throws UsageError where it is not an http(s) address, `key` is empty or `ca_file` cannot be read.
  ApiClient(std::string url, std::string key, std::string ca_file = {});
  ~ApiClient();
  ApiClient(const ApiClient&) = delete;
  ApiClient& operator=(const ApiClient&) = delete;

  base::json::value get(const std::string& path);
  base::json::value post(const std::string& path, const base::json::value& body);
  base::json::value remove(const std::string& path);

  /// Sends `file` as a multipart form's `file`, read from disk as it goes, with the given `purpose`.
  base::json::value upload(const std::filesystem::path& file, const std::string& purpose,
                           const TransferProgress& progress);

  /// Stores the answer's body as `target`: written beside it and renamed, so that a broken transfer leaves
  /// nothing.
  void download(const std::string& path, const std::filesystem::path& target,
                const TransferProgress& progress);

  static std::string escape(std::string_view path_part);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace finetuned::cli
