#include "trainer/text/jinja_names.h"

#include <algorithm>
#include <span>

namespace finetuned::text::jinja {

namespace {

using Names = std::span<const std::string_view>;

constexpr std::string_view kFilters[]{
    "count",  "d",          "default", "dictsort", "first",  "indent", "int",        "items",   "join",
    "last",   "length",     "list",    "lower",    "map",    "reject", "rejectattr", "replace", "safe",
    "select", "selectattr", "string",  "title",    "tojson", "trim",   "upper"};
constexpr std::string_view kTests[]{
    "!=", "==",   "defined", "eq",       "equalto", "false", "float",     "integer", "iterable", "mapping",
    "ne", "none", "number",  "sequence", "string",  "true",  "undefined", "boolean", "in"};
constexpr std::string_view kTestsWithArgument[]{"!=", "==", "eq", "equalto", "ne", "in"};
constexpr std::string_view kMethods[]{"append", "endswith",   "get",    "items", "keys",   "lower",
                                      "lstrip", "replace",    "rstrip", "split", "strip",  "title",
                                      "upper",  "startswith", "values", "cycle", "changed"};
constexpr std::string_view kFunctions[]{"dict", "namespace", "raise_exception", "range", "strftime_now"};

bool known(Names names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string all(Names names) {
  std::string text;
  for (const std::string_view name : names)
    text += (text.empty() ? "" : ", ") + std::string(name);
  return text;
}

}  // namespace

bool is_known_filter(std::string_view name) {
  return known(kFilters, name);
}
bool is_known_test(std::string_view name) {
  return known(kTests, name);
}
bool test_takes_argument(std::string_view name) {
  return known(kTestsWithArgument, name);
}
bool is_known_method(std::string_view name) {
  return known(kMethods, name);
}
bool is_known_function(std::string_view name) {
  return known(kFunctions, name);
}
std::string known_filters() {
  return all(kFilters);
}
std::string known_tests() {
  return all(kTests);
}
std::string known_methods() {
  return all(kMethods);
}
std::string known_functions() {
  return all(kFunctions);
}

}  // namespace finetuned::text::jinja
