#pragma once

#include <string>

namespace finetuned::gateway {

/// `req-...`, as base::make_id makes it, from random bytes of which a thread gets many at a time: each request has one.
std::string make_request_id();

}  // namespace finetuned::gateway
