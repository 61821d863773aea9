#pragma once

#include <chrono>
#include <memory>

#include "storage/objects/object_store.h"

namespace finetuned::base {
struct Settings;
}

namespace finetuned::objects {

/// The store that the settings name: the data directory's `objects`, or a bucket. Throws ConfigError.
std::unique_ptr<ObjectStore> open_store(const base::Settings& settings);

/// The longest that a call on that store may be silent before it has failed by its own account: a bucket's requests with all their
/// tries. Zero where it has no such limit.
std::chrono::milliseconds longest_silence(const base::Settings& settings);

/// open_store() for a process that reads objects again and again: a bucket's with copies in the data directory's `cache`.
std::unique_ptr<ObjectStore> open_cached_store(const base::Settings& settings);

}  // namespace finetuned::objects
