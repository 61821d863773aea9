#include "services/webhooks/sender.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "base/errors.h"
#include "base/expects.h"
#include "services/webhooks/addresses.h"

namespace finetuned::webhooks {

namespace {

constexpr std::size_t kMostAnswerBytes = 64 << 10, kShownBytes = 256, kMostAddresses = 16;
constexpr long kConnectMilliseconds = 5'000;
constexpr std::size_t kMostLookups = 64;  // of them those that a deliverer's threads wait for, and those that they gave up on

/// The try may not be made; the message is the delivery's error.
struct Refused : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string address_text(const std::string& bytes) {
  char text[INET6_ADDRSTRLEN] = "";
  ::inet_ntop(bytes.size() == 4 ? AF_INET : AF_INET6, bytes.data(), text, sizeof text);
  return text;
}

/// Every address of the host, each checked unless `trusted`. Throws Refused.
std::vector<std::string> checked(std::vector<std::string> found, bool trusted) {
  std::vector<std::string> addresses;
  for (std::string& bytes : found) {
    if (bytes.empty()) throw Refused("the host has an address that is neither IPv4 nor IPv6");
    if (const char* kind = trusted ? nullptr : not_public(bytes))
      throw Refused("the host has an address that webhooks are not sent to (" + std::string(kind) + ")");
    if (addresses.size() < kMostAddresses && std::find(addresses.begin(), addresses.end(), bytes) == addresses.end())
      addresses.push_back(std::move(bytes));
  }
  if (addresses.empty()) throw Refused("the host has no address");
  return addresses;
}

char printable(char c) { return c >= 0x20 && c < 0x7f ? c : '?'; }

struct List {
  curl_slist* head = nullptr;
  ~List() { curl_slist_free_all(head); }
  void add(const std::string& line) {
    curl_slist* longer = curl_slist_append(head, line.c_str());
    if (!longer) throw std::bad_alloc();
    head = longer;
  }
};

/// What libcurl calls back into. Its calls must not throw.
struct Try {
  const std::vector<std::string>& addresses;
  std::string start;
  std::size_t answer_bytes = 0, head_bytes = 0;
  bool elsewhere = false, cut = false;

  static curl_socket_t open_socket(void* self, curlsocktype, curl_sockaddr* to) {
    auto& attempt = *static_cast<Try*>(self);
    const std::string bytes = address_bytes(&to->addr);
    if (std::find(attempt.addresses.begin(), attempt.addresses.end(), bytes) == attempt.addresses.end()) {
      attempt.elsewhere = true;
      return CURL_SOCKET_BAD;
    }
    return ::socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
  }
  static std::size_t head(char*, std::size_t size, std::size_t count, void* self) {
    auto& attempt = *static_cast<Try*>(self);
    attempt.head_bytes += size * count;
    return attempt.head_bytes > kMostAnswerBytes ? 0 : size * count;
  }
  static std::size_t body(char* data, std::size_t size, std::size_t count, void* self) {
    auto& attempt = *static_cast<Try*>(self);
    const std::size_t bytes = size * count;
    attempt.answer_bytes += bytes;
    for (std::size_t i = 0; i < bytes && attempt.start.size() < kShownBytes; ++i)
      attempt.start += printable(data[i]);
    attempt.cut = attempt.answer_bytes > kMostAnswerBytes;
    return attempt.cut ? 0 : bytes;
  }
};

std::string pinned(const base::HttpsUrl& url, const std::vector<std::string>& addresses) {
  std::string entry = (url.is_ipv6 ? "[" + url.host + "]" : url.host) + ":" + std::to_string(url.port) + ":";
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    const std::string text = address_text(addresses[i]);
    entry += (i > 0 ? "," : "") + (addresses[i].size() == 16 ? "[" + text + "]" : text);
  }
  return entry;
}

template <class T>
void set(CURL* easy, CURLoption option, T value) {
  // An option that this libcurl refuses would leave a check out.
  base::expects(curl_easy_setopt(easy, option, value) == CURLE_OK, "libcurl takes every option of a webhook's try");
}

void set_door(CURL* easy, const SenderOptions& options) {
  set(easy, CURLOPT_PROTOCOLS_STR, "https");
  set(easy, CURLOPT_PROXY, "");
  set(easy, CURLOPT_NOPROXY, "*");
  set(easy, CURLOPT_FOLLOWLOCATION, 0L);
  set(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  set(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  set(easy, CURLOPT_SSLVERSION, static_cast<long>(CURL_SSLVERSION_TLSv1_2));
  set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  if (!options.ca_file.empty()) set(easy, CURLOPT_CAINFO, options.ca_file.c_str());
  set(easy, CURLOPT_NOSIGNAL, 1L);
  set(easy, CURLOPT_FRESH_CONNECT, 1L);
  set(easy, CURLOPT_FORBID_REUSE, 1L);
  set(easy, CURLOPT_CONNECTTIMEOUT_MS, kConnectMilliseconds);
  set(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(options.timeout.count()));
}

Answer perform(CURL* easy, Try& attempt) {
  char reason[CURL_ERROR_SIZE] = "";
  set(easy, CURLOPT_ERRORBUFFER, reason);
  const CURLcode outcome = curl_easy_perform(easy);
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  Answer answer;
  answer.start = std::move(attempt.start);
  // A body cut at its bound is an answer all the same: the status has come.
  if (status >= 200 && (outcome == CURLE_OK || attempt.cut)) {
    answer.status = static_cast<int>(status);
    return answer;
  }
  answer.error = std::string(reason[0] ? reason : curl_easy_strerror(outcome)).substr(0, kShownBytes);
  for (char& c : answer.error) c = printable(c);
  if (attempt.elsewhere) answer.error = "the connection would have gone to an address that was not checked";
  if (attempt.head_bytes > kMostAnswerBytes) answer.error = "the answer's head is too long";
  return answer;
}

}  // namespace

std::set<std::string> parse_allowed_hosts(std::string_view text) {
  std::set<std::string> hosts;
  while (!text.empty()) {
    const auto comma = text.find(',');
    const std::string_view entry = text.substr(0, comma);
    text = comma == std::string_view::npos ? "" : text.substr(comma + 1);
    const auto close = entry.rfind(':');
    const bool has_port = close != std::string_view::npos && entry.find(']', close) == std::string_view::npos;
    try {
      if (!has_port || entry.find_first_of("/?") != std::string_view::npos) throw base::UrlError("is not HOST:PORT");
      hosts.insert(base::parse_https_url("https://" + std::string(entry)).authority());
    } catch (const base::UrlError& error) {
      throw base::UsageError("'" + std::string(entry) + "' " + error.what() + "; write HOST:PORT,HOST:PORT");
    }
  }
  return hosts;
}

Sender::Sender(SenderOptions options) : options_(std::move(options)), resolver_(options_.resolve_limit, kMostLookups) {
  base::expects(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK, "libcurl starts");
}

Sender::~Sender() { curl_global_cleanup(); }

Answer Sender::post(const std::string& text, const std::vector<Header>& headers, const std::string& body) const {
  try {
    const base::HttpsUrl url = base::parse_https_url(text);
    const auto addresses = checked(resolver_.resolve(url.host), options_.allowed_hosts.contains(url.authority()));
    const std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> easy(curl_easy_init(), &curl_easy_cleanup);
    if (!easy) throw std::bad_alloc();
    Try attempt{.addresses = addresses, .start = {}};
    List pins, lines;
    pins.add(pinned(url, addresses));
    lines.add("content-type: application/json");
    lines.add("user-agent: finetuned-webhooks");
    lines.add("expect:");
    for (const Header& header : headers) lines.add(header.name + ": " + header.value);
    set_door(easy.get(), options_);
    set(easy.get(), CURLOPT_URL, url.text().c_str());
    set(easy.get(), CURLOPT_RESOLVE, pins.head);
    set(easy.get(), CURLOPT_OPENSOCKETFUNCTION, &Try::open_socket);
    set(easy.get(), CURLOPT_OPENSOCKETDATA, &attempt);
    set(easy.get(), CURLOPT_HEADERFUNCTION, &Try::head);
    set(easy.get(), CURLOPT_HEADERDATA, &attempt);
    set(easy.get(), CURLOPT_WRITEFUNCTION, &Try::body);
    set(easy.get(), CURLOPT_WRITEDATA, &attempt);
    set(easy.get(), CURLOPT_HTTPHEADER, lines.head);
    set(easy.get(), CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(body.size()));
    set(easy.get(), CURLOPT_POSTFIELDS, body.c_str());
    return perform(easy.get(), attempt);
  } catch (const base::UrlError& error) {
    return {std::nullopt, std::string("the URL ") + error.what(), ""};
  } catch (const Refused& error) {
    return {std::nullopt, error.what(), ""};
  } catch (const Unresolved& error) {
    return {std::nullopt, error.what(), ""};
  }
}

}  // namespace finetuned::webhooks
