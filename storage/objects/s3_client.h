#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace finetuned::objects {

struct S3Options {
  std::string endpoint;  ///< https://HOST[:PORT]
  std::string region;
  std::string bucket;
  std::string prefix;  ///< of all keys; empty, or ends in a slash
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;  ///< empty: the credentials are for good
  std::string ca_file;
  std::chrono::seconds timeout{30};  ///< without a byte
  int tries = 4;                     ///< of a request, the first one counted
  std::chrono::milliseconds first_pause{200};  ///< before the second; doubled, up to kLongestPause, and any part of it
};

struct S3Request {
  const char* method = "GET";
  std::string key = {};    ///< below the prefix; empty: the bucket itself
  std::string query = {};  ///< encoded, in the order of its names, each with a `=`: libcurl 7.88 signs it as it stands
  std::string body = {};   ///< of PUT and POST
  std::vector<std::string> headers = {};
  std::uint64_t most_bytes = 8 << 20;  ///< of the answer
};

struct S3Answer {
  int status = 0;
  std::string body;
  std::map<std::string, std::string> headers;  ///< names in lower case

  std::string header(const std::string& name) const;
};

/// Requests to a bucket by libcurl, signed (AWS Signature Version 4) with the hash of their bodies, which the server checks.
/// Connections are kept. Thread-safe.
class S3Client {
 public:
  static constexpr std::chrono::seconds kLongestPause{5};

  /// Throws ConfigError for options that cannot be.
  explicit S3Client(S3Options options);
  ~S3Client();
  S3Client(const S3Client&) = delete;
  S3Client& operator=(const S3Client&) = delete;

  /// An answer of status 2xx, 404 or 412. Whatever may pass (no connection, silence, an answer that breaks off, 408, 429, 5xx) is
  /// tried again, so that a request has to do no harm when it happens twice. Then, and for a refusal, throws StorageFault.
  S3Answer ask(const S3Request& request);
  /// The same, once and within `patience`.
  S3Answer ask_once(const S3Request& request, std::chrono::milliseconds patience);

  const S3Options& options() const { return options_; }

 private:
  struct Handles;
  struct Try;
  Try attempt(const S3Request& request, std::chrono::milliseconds patience);

  const S3Options options_;
  std::unique_ptr<Handles> handles_;
};

/// What stands between <NAME> and </NAME>, from `at` on, which moves behind it; empty, `at` unchanged, where there is none.
std::string next_element(const std::string& xml, const std::string& name, std::size_t& at);
/// For a query: everything but letters, digits and -_.~ in percent signs.
std::string encode_query(const std::string& text);

}  // namespace finetuned::objects
