#pragma once

#include <span>
#include <string_view>

#include "base/json.h"

namespace finetuned::gateway {

/// A type of the API by its name, in the notation below.
struct NamedType {
  std::string_view name;
  std::string_view type;
};

/// Types in short, much as TypeScript writes them, and as JSON Schema (2020-12):
///
///     string integer number boolean null any
///     time                a Unix time in seconds
///     nano                nano-dollars: an integer as a string
///     micro               micro-points: the same
///     binary              bytes of a form's part
///     1..100              an integer within these bounds
///     'a' | 'b' | T       either of these texts, or of these types
///     T[]                 an array
///     File                the schema of that name
///     {a: T; b?: U}       an object, `b` may be absent; names that are no words stand in quotes: 'ids[]'?: T
///     {...File; a: T}     with all fields of File
///     {[key]: T}          all other fields are of T; `[key]: never`: there are no others
///
/// `known` are the names that may be spread. Aborts where the text is not of this form, naming the place.
base::json::object type_schema(std::string_view type, std::span<const NamedType> known);

/// The fields alone, as between the braces of `{a: T; b?: U}`.
base::json::object fields_schema(std::string_view fields, std::span<const NamedType> known);

}  // namespace finetuned::gateway
