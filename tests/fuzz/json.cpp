// One JSON text for the strict reader.
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "tests/fuzz/fuzz.h"

namespace finetuned::fuzz {
namespace {

/// Equal but for the last digits of fractions: Boost.JSON 1.81 reads them to within some units in the last place.
bool nearly_equal(const base::json::value& a, const base::json::value& b) {
  if (a.is_double() && b.is_double())
    return std::abs(a.get_double() - b.get_double()) <= 1e-14 * std::abs(a.get_double()) + 1e-307;
  if (a.is_array() && b.is_array())
    return std::equal(a.get_array().begin(), a.get_array().end(), b.get_array().begin(), b.get_array().end(),
                      nearly_equal);
  if (!a.is_object() || !b.is_object()) return a == b;
  return std::equal(a.get_object().begin(), a.get_object().end(), b.get_object().begin(), b.get_object().end(),
                    [](const auto& x, const auto& y) { return x.key() == y.key() && nearly_equal(x.value(), y.value()); });
}

}  // namespace
}  // namespace finetuned::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace finetuned;
  const auto text = fuzz::as_text(data, size);
  base::json::value strict;
  try {
    strict = base::parse_json(text, {.depth = 32, .bytes = 1 << 16});
  } catch (const base::JsonError& error) {
    fuzz::expect(error.offset <= size && *error.what() != '\0', "a fault has a message and a place in the text");
    return 0;
  }
  boost::system::error_code failed;
  const auto lenient = boost::json::parse(text, failed);
  fuzz::expect(!failed && lenient == strict, "what is accepted is what Boost.JSON reads");
  const std::string written = boost::json::serialize(strict);
  fuzz::expect(fuzz::nearly_equal(base::parse_json(written), strict),
               "what is written of a value reads as the same value");
  return 0;
}
