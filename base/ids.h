#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace finetuned::base {

/// `count` bytes from the operating system's generator. Throws std::runtime_error where it fails.
std::string random_bytes(std::size_t count);

/// `PREFIX-` and 24 random base-62 characters (142 bits): `make_id("ftjob")` is `ftjob-...`.
std::string make_id(std::string_view prefix);

/// `PREFIX` and 32 random bytes in base 62: an API key such as `sk-ft-...`. Shown once, stored as SHA-256.
std::string make_secret(std::string_view prefix);

/// A random UUID (version 7: its first 48 bits are milliseconds, so that rows cluster by time).
std::string make_uuid();

/// Whether `id` is `PREFIX-` and 1 to 64 letters and digits: checked before an id reaches SQL or a path.
bool is_id(std::string_view id, std::string_view prefix);

}  // namespace finetuned::base
