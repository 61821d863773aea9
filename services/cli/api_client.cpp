#include "services/cli/api_client.h"

#include <unistd.h>

#include <boost/json/serialize.hpp>
#include <cstdio>
#include <curl/curl.h>
#include <utility>

#include "base/errors.h"
#include "base/expects.h"

namespace finetuned::cli {

namespace json = base::json;

namespace {

constexpr std::size_t kMaxAnswerBytes = 64u << 20;
constexpr long kConnectSeconds = 10;
constexpr long kCallSeconds = 60;
constexpr long kStallSeconds = 60;

std::string checked_origin(std::string url) {
  if (url.rfind("http://", 0) != 0 && url.rfind("https://", 0) != 0)
    throw base::UsageError("'" + url +
                           "' is not an address: give --url or FINETUNED_URL, such as http://127.0.0.1:8080");
  while (!url.empty() && url.back() == '/')
    url.pop_back();
  if (url.size() > 3 && url.compare(url.size() - 3, 3, "/v1") == 0) url.resize(url.size() - 3);
  return url;
}

/// The error object that the API sends, or the bare status where something else answered.
[[noreturn]] void throw_api_error(int status, const std::string& body) {
  std::string type = "api_error", code,
              message = "the server answered with HTTP status " + std::to_string(status);
  std::optional<std::string> param;
  try {
    const json::value answer = base::parse_json(body);
    const json::object& error = answer.at("error").as_object();
    const auto text = [&error](const char* name) -> std::optional<std::string> {
      const json::value* found = error.if_contains(name);
      if (!found || !found->is_string()) return std::nullopt;
      return std::string(found->get_string());
    };
    message = text("message").value_or(message);
    type = text("type").value_or(type);
    code = text("code").value_or("");
    param = text("param");
  } catch (const std::exception&) {
    message += ", which is not the API's error form: is this the address of a finetuned platform?";
  }
  throw base::ApiError(status, type, code, message, param);
}

/// Where an answer's body goes: into memory, and into a file once the status says that it is the file asked
/// for.
struct Sink {
  CURL* easy = nullptr;
  std::string body;
  std::FILE* file = nullptr;

  static std::size_t write(char* data, std::size_t one, std::size_t count, void* self) {
    auto& sink = *static_cast<Sink*>(self);
    long status = 0;
    curl_easy_getinfo(sink.easy, CURLINFO_RESPONSE_CODE, &status);
    if (sink.file && status < 400) return std::fwrite(data, one, count, sink.file) * one;
    if (sink.body.size() + one * count > kMaxAnswerBytes) return 0;
    sink.body.append(data, one * count);
    return one * count;
  }
};

struct ProgressTap {
  const TransferProgress* report = nullptr;
  bool uploading = false;

  static int hear(void* self, curl_off_t down_total, curl_off_t down, curl_off_t up_total, curl_off_t up) {
    const auto& tap = *static_cast<ProgressTap*>(self);
    (*tap.report)(tap.uploading ? up : down, tap.uploading ? up_total : down_total);
    return 0;
  }
};

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

}  // namespace

struct ApiClient::State {
  std::string origin;
  std::string key;
  std::string ca_file;
  CURL* easy = nullptr;

  /// Sets what every call has in common; the rest is set by the caller before `perform`.
  void begin(const std::string& path) {
    curl_easy_reset(easy);  // keeps the connection
    curl_easy_setopt(easy, CURLOPT_URL, (origin + "/v1" + path).c_str());
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
    if (!ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file.c_str());
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "finetuned-cli");
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  }

  void limit_to_stalls() {
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, kStallSeconds);
  }

  void watch(ProgressTap& tap) {
    if (!*tap.report) return;
    curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, &ProgressTap::hear);
    curl_easy_setopt(easy, CURLOPT_XFERINFODATA, &tap);
  }

  void perform(Sink& sink, Headers& headers) {
    char reason[CURL_ERROR_SIZE] = {};
    headers.add("Authorization: Bearer " + key);
    sink.easy = easy;
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers.get());
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &Sink::write);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, &sink);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, reason);
    const CURLcode outcome = curl_easy_perform(easy);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, nullptr);
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    // A refusal that came while we were still sending the body is an answer, whatever became of the
    // connection.
    if (status >= 400) throw_api_error(static_cast<int>(status), sink.body);
    if (outcome != CURLE_OK) {
      const std::string why = reason[0] ? reason : curl_easy_strerror(outcome);
      if (outcome == CURLE_PEER_FAILED_VERIFICATION)
        throw ConnectionError(origin + " is not trusted: " + why +
                              " (name the certificate of its issuer by --ca-file or FINETUNED_CA_FILE)");
      throw ConnectionError(origin + " did not answer: " + why + " (is the platform up?)");
    }
  }

  json::value perform_json(Headers& headers) {
    Sink sink;
    perform(sink, headers);
    try {
      return base::parse_json(sink.body, {.depth = 64, .bytes = kMaxAnswerBytes});
    } catch (const base::JsonError& error) {
      throw ConnectionError(origin + " answered with something other than JSON: " + error.what());
    }
  }
};

ApiClient::ApiClient(std::string url, std::string key, std::string ca_file) : state_(std::make_unique<State>()) {
  state_->origin = checked_origin(std::move(url));
  if (key.empty()) throw base::UsageError("there is no API key: give --key or FINETUNED_API_KEY");
  if (key.find_first_of("\r\n") != std::string::npos)
    throw base::UsageError("the API key holds a line break");
  if (!ca_file.empty() && ::access(ca_file.c_str(), R_OK) != 0)
    throw base::UsageError(ca_file + ": cannot be read; --ca-file or FINETUNED_CA_FILE names it");
  state_->key = std::move(key);
  state_->ca_file = std::move(ca_file);
  base::expects(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK, "libcurl starts");
  state_->easy = curl_easy_init();
  base::expects(state_->easy != nullptr, "libcurl gives a handle");
}

ApiClient::~ApiClient() {
  curl_easy_cleanup(state_->easy);
  curl_global_cleanup();
}

json::value ApiClient::get(const std::string& path) {
  state_->begin(path);
  curl_easy_setopt(state_->easy, CURLOPT_TIMEOUT, kCallSeconds);
  Headers headers;
  return state_->perform_json(headers);
}

json::value ApiClient::post(const std::string& path, const json::value& body) {
  const std::string text = json::serialize(body);
  state_->begin(path);
  curl_easy_setopt(state_->easy, CURLOPT_TIMEOUT, kCallSeconds);
  curl_easy_setopt(state_->easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(text.size()));
  curl_easy_setopt(state_->easy, CURLOPT_POSTFIELDS, text.c_str());
  Headers headers;
  headers.add("Content-Type: application/json");
  return state_->perform_json(headers);
}

json::value ApiClient::remove(const std::string& path) {
  state_->begin(path);
  curl_easy_setopt(state_->easy, CURLOPT_TIMEOUT, kCallSeconds);
  curl_easy_setopt(state_->easy, CURLOPT_CUSTOMREQUEST, "DELETE");
  Headers headers;
  return state_->perform_json(headers);
}

json::value ApiClient::upload(const std::filesystem::path& file, const std::string& purpose,
                              const TransferProgress& progress) {
  if (!std::filesystem::is_regular_file(file))
    throw base::UsageError(file.string() + ": there is no such file");
  state_->begin("/files");
  state_->limit_to_stalls();
  ProgressTap tap{&progress, true};
  state_->watch(tap);
  const std::unique_ptr<curl_mime, decltype(&curl_mime_free)> form(curl_mime_init(state_->easy),
                                                                   &curl_mime_free);
  curl_mimepart* part = curl_mime_addpart(form.get());
  curl_mime_name(part, "purpose");
  curl_mime_data(part, purpose.data(), purpose.size());
  part = curl_mime_addpart(form.get());
  curl_mime_name(part, "file");
  if (curl_mime_filedata(part, file.c_str()) != CURLE_OK)
    throw base::UsageError(file.string() + ": cannot be opened for reading");
  curl_easy_setopt(state_->easy, CURLOPT_MIMEPOST, form.get());
  Headers headers;
  headers.add("Expect:");
  return state_->perform_json(headers);
}

void ApiClient::download(const std::string& path, const std::filesystem::path& target,
                         const TransferProgress& progress) {
  const std::filesystem::path beside = target.string() + ".part";
  Sink sink;
  sink.file = std::fopen(beside.c_str(), "wb");
  if (!sink.file) throw base::UsageError(beside.string() + ": cannot be written");
  try {
    state_->begin(path);
    state_->limit_to_stalls();
    ProgressTap tap{&progress, false};
    state_->watch(tap);
    Headers headers;
    state_->perform(sink, headers);
    std::FILE* file = std::exchange(sink.file, nullptr);
    if (std::fclose(file) != 0)
      throw std::runtime_error(beside.string() + ": writing failed: is the disk full?");
    std::filesystem::rename(beside, target);
  } catch (...) {
    if (sink.file) std::fclose(sink.file);
    std::error_code ignored;
    std::filesystem::remove(beside, ignored);
    throw;
  }
}

std::string ApiClient::escape(std::string_view path_part) {
  constexpr char kHex[] = "0123456789ABCDEF";
  std::string escaped;
  for (const unsigned char c : path_part) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '-' || c == '_' || c == '~' || c == ':' ||
                       (c == '.' && path_part != "." && path_part != "..");
    if (plain) {
      escaped += static_cast<char>(c);
    } else {
      escaped += '%';
      escaped += kHex[c >> 4];
      escaped += kHex[c & 15];
    }
  }
  return escaped;
}

}  // namespace finetuned::cli
