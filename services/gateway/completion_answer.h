#pragma once

#include "services/gateway/generation_request.h"
#include "services/gateway/http.h"
#include "services/gateway/platform.h"

namespace finetuned::gateway {

/// Has a model answer: the response is pending until the whole answer is there or, where it is to be streamed, until it
/// begins, so that what cannot be answered still has its status. The model must be a base, or the project's own. Throws
/// ApiError 404 `model_not_found`, 400 `model_not_servable`, `project_archived`, 413, 429, of which `insufficient_quota` where the
/// project cannot pay what it may cost; see Generation for the rest.
Response answer_completion(const Platform& platform, const Request& request, const GenerationRequest& asked);

}  // namespace finetuned::gateway
