#include "storage/objects/s3_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <cctype>
#include <mutex>
#include <random>
#include <thread>

#include "base/errors.h"
#include "base/expects.h"
#include "base/log.h"
#include "base/sha256.h"
#include "storage/objects/object_store.h"

namespace finetuned::objects {

namespace {

constexpr std::size_t kMostIdle = 16;
constexpr std::chrono::seconds kConnect{10};
constexpr int kSlowest = 20;  // times the timeout: of a whole request

class Headers {
 public:
  Headers() = default;
  ~Headers() { curl_slist_free_all(list_); }
  Headers(const Headers&) = delete;
  Headers& operator=(const Headers&) = delete;
  void add(const std::string& line) { list_ = curl_slist_append(list_, line.c_str()); }
  curl_slist* get() const { return list_; }

 private:
  curl_slist* list_ = nullptr;
};

struct Sink {
  S3Answer answer;
  std::uint64_t most = 0;

  static std::size_t body(char* data, std::size_t one, std::size_t count, void* self) {
    auto& sink = *static_cast<Sink*>(self);
    if (sink.answer.body.size() + one * count > sink.most) return 0;
    sink.answer.body.append(data, one * count);
    return one * count;
  }

  static std::size_t header(char* data, std::size_t one, std::size_t count, void* self) {
    auto& sink = *static_cast<Sink*>(self);
    const std::string line(data, one * count);
    if (line.rfind("HTTP/", 0) == 0) sink.answer.headers.clear();  // of a 100 before it
    const auto colon = line.find(':');
    if (colon == std::string::npos) return one * count;
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const auto begin = line.find_first_not_of(" \t", colon + 1);
    const auto end = line.find_last_not_of(" \t\r\n");
    sink.answer.headers[name] = begin == std::string::npos || end < begin ? "" : line.substr(begin, end - begin + 1);
    return one * count;
  }
};

void check(const S3Options& options) {
  const auto refuse = [](const std::string& why) { throw base::ConfigError("storage." + why); };
  const bool scheme = options.endpoint.rfind("https://", 0) == 0 || options.endpoint.rfind("http://", 0) == 0;
  const auto host = options.endpoint.find("//");
  if (!scheme || options.endpoint.find_first_of("/?#@", host + 2) != std::string::npos || options.endpoint.size() == host + 2)
    refuse("s3_endpoint: must be https://HOST or https://HOST:PORT, not '" + options.endpoint + "'");
  if (options.region.empty()) refuse("s3_region: is empty");
  const auto only = [](const std::string& text, const char* extra) {
    return std::all_of(text.begin(), text.end(), [&](unsigned char c) { return std::isalnum(c) || std::string_view(extra).find(static_cast<char>(c)) != std::string_view::npos; });
  };
  if (options.bucket.empty() || !only(options.bucket, ".-_")) refuse("s3_bucket: '" + options.bucket + "' is no bucket's name");
  if (!only(options.region, "-_")) refuse("s3_region: '" + options.region + "' is no region's name");
  if (!only(options.prefix, "/.-_") || (!options.prefix.empty() && (!options.prefix.ends_with('/') || options.prefix.starts_with('/'))))
    refuse("s3_prefix: must be of letters, digits and /.-_ and end, but not begin, in a slash");
  if (options.access_key_id.empty() || options.secret_access_key.empty())
    refuse("s3_access_key_id and storage.s3_secret_access_key: set both, or name a storage.s3_credentials_file");
}

bool may_pass(int status) { return status == 408 || status == 429 || (status >= 500 && status != 501 && status != 507); }

}  // namespace

std::string S3Answer::header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

struct S3Client::Handles {
  std::mutex mutex;
  std::vector<CURL*> idle;  ///< guarded by mutex

  CURL* take() {
    {
      const std::lock_guard lock(mutex);
      if (!idle.empty()) {
        CURL* handle = idle.back();
        idle.pop_back();
        return handle;
      }
    }
    CURL* made = curl_easy_init();
    base::expects(made != nullptr, "libcurl gives a handle");
    return made;
  }

  void give(CURL* handle) {
    const std::lock_guard lock(mutex);
    if (idle.size() < kMostIdle) idle.push_back(handle);
    else curl_easy_cleanup(handle);
  }
};

/// What came of one try.
struct S3Client::Try {
  S3Answer answer;
  std::string failure;  ///< of the connection; empty: there is an answer
};

S3Client::S3Client(S3Options options) : options_(std::move(options)), handles_(std::make_unique<Handles>()) {
  check(options_);
  base::expects(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK, "libcurl starts");
}

S3Client::~S3Client() {
  for (CURL* handle : handles_->idle) curl_easy_cleanup(handle);
  curl_global_cleanup();
}

S3Client::Try S3Client::attempt(const S3Request& request, std::chrono::milliseconds patience) {
  struct Lent {
    Handles& handles;
    CURL* easy;
    ~Lent() { handles.give(easy); }
  } const lent{*handles_, handles_->take()};
  CURL* easy = lent.easy;
  const std::string method = request.method;
  const bool sends = method == "PUT" || method == "POST";
  std::string url = options_.endpoint + "/" + options_.bucket + "/";
  if (!request.key.empty()) url += options_.prefix + request.key;
  if (!request.query.empty()) url += "?" + request.query;
  const std::string scheme = "aws:amz:" + options_.region + ":s3";
  Headers headers;
  headers.add("x-amz-content-sha256: " + base::sha256_hex(sends ? request.body : ""));
  headers.add("Expect:");
  if (sends) headers.add("Content-Type: application/octet-stream");
  if (!options_.session_token.empty()) headers.add("x-amz-security-token: " + options_.session_token);
  for (const std::string& header : request.headers) headers.add(header);
  Sink sink;
  sink.most = request.most_bytes;
  char reason[CURL_ERROR_SIZE] = {};
  curl_easy_reset(easy);  // keeps the connection
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  if (!options_.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options_.ca_file.c_str());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::min<std::chrono::milliseconds>(patience, kConnect).count()));
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, static_cast<long>(std::chrono::ceil<std::chrono::seconds>(patience).count()));
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>((sends || method == "GET" ? kSlowest : 2) * patience.count()));
  curl_easy_setopt(easy, CURLOPT_AWS_SIGV4, scheme.c_str());
  curl_easy_setopt(easy, CURLOPT_USERNAME, options_.access_key_id.c_str());
  curl_easy_setopt(easy, CURLOPT_PASSWORD, options_.secret_access_key.c_str());
  if (method == "HEAD") curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
  if (sends) {
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.data());
  }
  if (method != "HEAD" && method != "GET") curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Sink::body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &sink);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, &Sink::header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &sink);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, reason);
  const CURLcode outcome = curl_easy_perform(easy);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, nullptr);
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  sink.answer.status = static_cast<int>(status);
  Try one{std::move(sink.answer), ""};
  if (outcome != CURLE_OK && status < 400) one.failure = reason[0] ? reason : curl_easy_strerror(outcome);
  return one;
}

namespace {

/// Nothing where the answer is one for the caller; else what is wrong with it.
std::string fault_of(const S3Answer& answer) {
  if ((answer.status >= 200 && answer.status < 300) || answer.status == 404 || answer.status == 412) return "";
  std::size_t at = 0;
  const std::string code = next_element(answer.body, "Code", at), message = next_element(answer.body, "Message", at);
  return "status " + std::to_string(answer.status) + (code.empty() ? "" : ", " + code + ": " + message);
}

[[noreturn]] void give_up(const S3Request& request, int status, const std::string& why) {
  const std::string detail = std::string("S3: ") + request.method + " " + request.key + " " + request.query + ": " + why;
  if (status == 507 || why.find("QuotaExceeded") != std::string::npos || why.find("StorageFull") != std::string::npos)
    throw StorageFull(detail);
  throw StorageUnavailable(detail);
}

/// Anything up to `most`, so that those who failed together do not come back together.
std::chrono::milliseconds any_part_of(std::chrono::milliseconds most) {
  thread_local std::minstd_rand random(std::random_device{}());
  return std::chrono::milliseconds(std::uniform_int_distribution<long>(0, static_cast<long>(most.count()))(random));
}

}  // namespace

S3Answer S3Client::ask_once(const S3Request& request, std::chrono::milliseconds patience) {
  Try one = attempt(request, patience);
  const std::string why = one.failure.empty() ? fault_of(one.answer) : one.failure;
  if (!why.empty()) give_up(request, one.answer.status, why);
  return std::move(one.answer);
}

S3Answer S3Client::ask(const S3Request& request) {
  std::chrono::milliseconds pause = options_.first_pause;
  for (int tries = 1;; ++tries) {
    Try one = attempt(request, options_.timeout);
    const std::string why = one.failure.empty() ? fault_of(one.answer) : one.failure;
    if (why.empty()) return std::move(one.answer);
    const bool again = !one.failure.empty() || may_pass(one.answer.status);
    if (!again || tries >= options_.tries) give_up(request, one.answer.status, why);
    base::log_warn("the bucket's server failed a request; trying again", {{"method", request.method}, {"key", request.key}, {"why", why}});
    std::this_thread::sleep_for(pause / 2 + any_part_of(pause / 2));
    pause = std::min<std::chrono::milliseconds>(2 * pause, kLongestPause);
  }
}

std::string next_element(const std::string& xml, const std::string& name, std::size_t& at) {
  const std::string open = "<" + name + ">", close = "</" + name + ">";
  const auto begin = xml.find(open, at);
  if (begin == std::string::npos) return "";
  const auto end = xml.find(close, begin);
  if (end == std::string::npos) return "";
  at = end + close.size();
  return xml.substr(begin + open.size(), end - begin - open.size());
}

std::string encode_query(const std::string& text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  for (const unsigned char c : text) {
    if (std::isalnum(c) || std::string_view("-_.~").find(static_cast<char>(c)) != std::string_view::npos) {
      out += static_cast<char>(c);
    } else {
      out += '%';
      out += kHex[c >> 4];
      out += kHex[c & 15];
    }
  }
  return out;
}

}  // namespace finetuned::objects
