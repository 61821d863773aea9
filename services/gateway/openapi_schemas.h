#pragma once

#include <span>

#include "services/gateway/openapi_types.h"

namespace finetuned::gateway {

/// The objects that requests hold and answers are made of, as `shapes.h`, `completion_shapes.h` and the routes write them.
/// tests/conformance/own_document.mjs holds what is really answered against them, field by field.
std::span<const NamedType> project_types();  ///< for project keys
std::span<const NamedType> admin_types();    ///< for admin keys, as `admin_shapes.h` writes them

}  // namespace finetuned::gateway
