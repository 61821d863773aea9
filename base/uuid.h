#pragma once

#include <string_view>

namespace finetuned::base {

/// Whether `text` is a UUID as make_uuid (ids.h) and PostgreSQL write it: lower case, with dashes.
bool is_uuid(std::string_view text);

}  // namespace finetuned::base
