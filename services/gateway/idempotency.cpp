#include "services/gateway/idempotency.h"

#include <boost/json/serialize.hpp>

#include "base/sealing.h"
#include "base/sha256.h"
#include "services/gateway/utf8.h"
#include "storage/idempotency_store.h"

namespace finetuned::gateway {

namespace json = base::json;

namespace {

constexpr std::int64_t kKeySeconds = 24 * 3600;
constexpr std::int64_t kRetrySeconds = 600;
constexpr std::size_t kMostKeyBytes = 255;
constexpr std::size_t kMostAnswerBytes = 1 << 20;

std::string what_is_asked(const Request& request) {
  std::string text = request.method;
  for (const std::string& segment : request.segments) text += "/" + segment;
  return text + "\n";
}

json::object opened(const Platform& platform, const std::string& sealed, const std::string& purpose) {
  try {
    const std::string text = platform.webhooks_key.open(sealed, purpose);
    return base::parse_json(text, {.depth = 32, .bytes = kMostAnswerBytes}).as_object();
  } catch (const base::SealError&) {
    throw base::ApiError(409, "invalid_request_error", "answer_not_kept",
                         "This request was carried out before, but its answer cannot be read any more. Look for what it made.",
                         "Idempotency-Key");
  }
}

}  // namespace

Repetition repetition_of(const Request& request, const std::string& about) {
  Repetition repetition;
  repetition.sha256 = base::sha256_hex(about + request.body);
  const auto key = request.header("idempotency-key").value_or("");
  if (key.size() > kMostKeyBytes || !is_utf8(key))
    throw base::bad_request("invalid_value", "Idempotency-Key must have at most 255 bytes, in UTF-8.", "Idempotency-Key");
  repetition.has_key = !key.empty();
  repetition.key = key.empty() ? "body:" + repetition.sha256 : "key:" + std::string(key);
  repetition.age_seconds = key.empty() ? kRetrySeconds : kKeySeconds;
  const auto count = request.header("x-stainless-retry-count").value_or("0");
  repetition.looks_back = !key.empty() || (!count.empty() && count != "0");
  return repetition;
}

base::ApiError request_in_progress() {
  return {409, "invalid_request_error", "request_in_progress", "The same request is still being worked on.", std::nullopt, true};
}

base::ApiError idempotency_key_reused() {
  return {422, "invalid_request_error", "idempotency_key_reused",
          "This Idempotency-Key was used for another request, or with another body.", "Idempotency-Key"};
}

json::object answer_once(postgres::Transaction& tx, const Platform& platform, const Request& request,
                         const std::function<json::object()>& make, const Sameness& sameness) {
  const Repetition repetition = repetition_of(request, what_is_asked(request) + sameness.content);
  const Principal& who = request.principal;
  storage::AnswerOwner owner{who.organization_id, std::nullopt};
  if (!who.admin) owner.project_id = who.project_id;
  const std::string purpose = who.organization_id + " " + who.project_id + " " + repetition.key;
  storage::IdempotencyStore requests(tx);
  const bool alone = requests.try_lock("answer " + who.organization_id + " " + who.project_id, repetition.key);
  if (!alone && repetition.looks_back) throw request_in_progress();
  if (repetition.has_key && !who.admin && requests.find(who.project_id, repetition.key, repetition.age_seconds))
    throw idempotency_key_reused();  // for a job
  if (repetition.looks_back) {
    const auto earlier = requests.find_answer(owner, repetition.key, repetition.age_seconds);
    if (earlier && earlier->request_sha256 != repetition.sha256) throw idempotency_key_reused();
    if (earlier) {
      json::object answer = opened(platform, earlier->sealed_answer, purpose);
      if (repetition.has_key || !sameness.holds || sameness.holds(answer)) return answer;
    }
  }
  json::object answer = make();
  requests.remember_answer(owner, repetition.key,
                           {repetition.sha256, platform.webhooks_key.seal(json::serialize(answer), purpose)});
  return answer;
}

}  // namespace finetuned::gateway
