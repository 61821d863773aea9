#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/errors.h"
#include "base/json.h"
#include "services/gateway/http.h"
#include "services/gateway/platform.h"
#include "storage/postgres/transaction.h"

namespace finetuned::gateway {

/// What a repeated create is recognised by.
struct Repetition {
  std::string key;
  std::string sha256;            ///< what the key is bound to
  std::int64_t age_seconds = 0;  ///< an earlier request counts for so long
  bool has_key = false;          ///< an Idempotency-Key
  bool looks_back = false;       ///< an Idempotency-Key is there, or the client counts this as a retry, as the official ones do
};

/// `about` stands before the body in what is hashed. Throws ApiError 400 where Idempotency-Key is too long or not UTF-8.
Repetition repetition_of(const Request& request, const std::string& about = "");

base::ApiError request_in_progress();    ///< 409, retryable
base::ApiError idempotency_key_reused();  ///< 422

/// What answer_once cannot know of a request.
struct Sameness {
  std::string content = {};  ///< of a body that came in pieces
  /// Whether an earlier answer still holds, asked where there is no Idempotency-Key: the thing may be gone by now, and this
  /// request another one with the same body.
  std::function<bool(const base::json::object&)> holds = {};
};

/// The answer that the same request got before, of the same project (without one: organization); else `make`'s, kept for
/// 24 hours by this transaction, which makes the thing. Kept sealed: answers hold keys and secrets. Throws the two above,
/// 409 `answer_not_kept` where the sealing key was changed meanwhile, and what `make` throws.
base::json::object answer_once(postgres::Transaction& tx, const Platform& platform, const Request& request,
                               const std::function<base::json::object()>& make, const Sameness& sameness = {});

}  // namespace finetuned::gateway
