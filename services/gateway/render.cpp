#include "services/gateway/render.h"

#include <algorithm>
#include <charconv>
#include <ctime>

#include "base/expects.h"
#include "base/files.h"
#include "base/log.h"
#include "base/offload.h"
#include "services/gateway/object_calls.h"
#include "storage/objects/object_store.h"

namespace finetuned::gateway {

namespace {

constexpr const char* kApiVersion = "2020-10-01";
constexpr std::chrono::milliseconds kRetryAfter{1000};
constexpr std::size_t kUsualHeadBytes = 768;

bool clients_retry(int status) { return status == 408 || status == 409 || status == 429 || status >= 500; }

/// Written anew once a second.
std::string_view http_date() {
  thread_local std::time_t written = 0;
  thread_local char text[64];
  thread_local std::size_t size = 0;
  const std::time_t now = std::time(nullptr);
  if (now != written) {
    std::tm utc{};
    gmtime_r(&now, &utc);
    size = std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &utc);
    written = now;
  }
  return {text, size};
}

/// Header values never carry a line end, whatever the data was.
void append_field(std::string& head, std::string_view name, std::string_view value) {
  head.append(name).append(": ");
  const std::size_t begin = head.size();
  head.append(value);
  const auto unsafe = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  std::replace_if(head.begin() + static_cast<std::ptrdiff_t>(begin), head.end(), unsafe, ' ');
  head.append("\r\n");
}

void append_field(std::string& head, std::string_view name, std::int64_t value) {
  char digits[24];
  const auto end = std::to_chars(digits, digits + sizeof digits, value).ptr;
  head.append(name).append(": ").append(digits, end).append("\r\n");
}

base::ApiError retryable(int status, const char* code, const std::string& message) {
  return {status, "server_error", code, message, std::nullopt, true};
}

}  // namespace

Response render_error(const base::ApiError& error) {
  base::json::object body;
  body["message"] = error.what();
  body["type"] = error.type;
  body["param"] = nullptr;
  if (error.param) body["param"] = *error.param;
  body["code"] = nullptr;
  if (!error.code.empty()) body["code"] = error.code;
  base::json::object whole;
  whole["error"] = std::move(body);
  Response response = json_response(whole, error.status);
  if (clients_retry(error.status)) response.headers.emplace_back("x-should-retry", error.retryable ? "true" : "false");
  if ((error.status == 429 || error.status == 503) && error.retryable) {
    const auto wait = error.retry_after.value_or(kRetryAfter);
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(wait).count();
    response.headers.emplace_back("retry-after", std::to_string(seconds));
    response.headers.emplace_back("retry-after-ms", std::to_string(wait.count()));
  }
  return response;
}

base::ApiError as_api_error(const std::exception_ptr& thrown, const std::string& request_id) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Unanswered& error) {  // of which the log has been told
    return error;
  } catch (const objects::StorageFault& error) {
    base::log_error("a request failed on the storage", {{"request", request_id}, {"error", error.detail}});
    return error;
  } catch (const base::ApiError& error) {
    return error;
  } catch (const base::Overloaded&) {
    return retryable(503, "overloaded", "The server is busy; try again shortly.");
  } catch (const base::FileError& error) {
    base::log_error("a request failed on a file", {{"request", request_id}, {"error", error.what()}});
    if (error.disk_full())
      return {507, "server_error", "storage_full", "The server's disk is full; nothing was kept.", std::nullopt};
    return retryable(503, "storage_unavailable", "The server's storage cannot be reached; try again shortly.");
  } catch (const std::exception& error) {
    base::log_error("a request failed", {{"request", request_id}, {"error", error.what()}});
  } catch (...) {
    base::log_error("a request failed", {{"request", request_id}, {"error", "an unknown exception"}});
  }
  return {500, "server_error", "internal_error",
          "The server had an error while processing your request. Quote the request id " + request_id + " when asking about it.",
          std::nullopt, true};
}

std::string render_head(const Response& response, const AnswerContext& context) {
  std::string head;
  render_head(head, response, context);
  return head;
}

void render_head(std::string& head, const Response& response, const AnswerContext& context) {
  head.reserve(head.size() + kUsualHeadBytes);
  head.append("HTTP/1.1 ").append(std::to_string(response.status)).append(" ").append(reason_phrase(response.status)).append("\r\n");
  const auto add = [&head](std::string_view name, const auto& value) { append_field(head, name, value); };
  for (const auto& [name, value] : response.headers) add(name, value);
  const std::uint64_t bytes = response.source ? response.source_bytes : response.text().size();
  if (response.live) {
    if (context.chunks) add("transfer-encoding", "chunked");
  } else if (response.status != 304) {
    add("content-length", static_cast<std::int64_t>(bytes));
  }
  add("connection", context.keep_alive ? "keep-alive" : "close");
  add("date", http_date());
  add("x-request-id", context.request_id);
  add("openai-version", kApiVersion);
  const auto spent = std::chrono::duration_cast<std::chrono::milliseconds>(context.processing).count();
  add("openai-processing-ms", static_cast<std::int64_t>(spent));
  if (!context.organization.empty()) add("openai-organization", context.organization);
  const auto add_rate = [&head](const std::optional<RateView>& view, std::string_view kind) {
    if (!view) return;
    const auto add_one = [&head, kind](std::string_view name, const auto& value) {
      append_field(head.append(name), kind, value);
    };
    add_one("x-ratelimit-limit-", view->limit);
    add_one("x-ratelimit-remaining-", view->remaining);
    add_one("x-ratelimit-reset-", rate_duration(view->reset));
  };
  add_rate(context.rates.requests, "requests");
  add_rate(context.rates.tokens, "tokens");
  head.append("\r\n");
}

}  // namespace finetuned::gateway
