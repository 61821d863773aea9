#include "services/gateway/completion_answer.h"
#include "services/gateway/routes/routes.h"

namespace finetuned::gateway {

void add_completion_routes(Router& router, const Platform& platform) {
  router.add("POST", "/v1/chat/completions", Access::kProject, [&platform](const Request& request) {
    return answer_completion(platform, request, parse_chat_request(request.body));
  });
  router.add("POST", "/v1/completions", Access::kProject, [&platform](const Request& request) {
    return answer_completion(platform, request, parse_text_request(request.body));
  });
}

}  // namespace finetuned::gateway
