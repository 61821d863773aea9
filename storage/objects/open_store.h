#pragma once

#include <memory>

#include "storage/objects/object_store.h"

namespace finetuned::base {
struct Settings;
}

namespace finetuned::objects {

/// The store that the settings name: the data directory's `objects`, or a bucket. Throws ConfigError.
std::unique_ptr<ObjectStore> open_store(const base::Settings& settings);

/// The same for a process that reads objects again and again: a bucket's with copies in the data directory's `cache`.
std::unique_ptr<ObjectStore> open_cached_store(const base::Settings& settings);

}  // namespace finetuned::objects
