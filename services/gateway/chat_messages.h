#pragma once

#include "base/json.h"

namespace finetuned::gateway {

/// The `messages` of a chat, as the chat templates of models take them, and as they stand in datasets: each with `role`
/// and, as one text, `content`; `name`, `tool_calls` and `tool_call_id` where they were given. Throws ApiError 400 naming
/// the field, such as `messages[2].content[0].type`.
base::json::array read_chat_messages(const base::json::value& messages);

}  // namespace finetuned::gateway
